// What happens when PostgreSQL loads the library.
#include "pg/catalog.hpp"
#include "pg/settings.hpp"
#include "pg/statement.hpp"
#include "worker/worker.hpp"

extern "C" {
LIFECYCLE_MODULE_MAGIC;
PGDLLEXPORT void _PG_init(void);
}

void _PG_init(void) {
    lifecycle::pg::define_settings();
    lifecycle::pg::install_invalidation_callbacks();
    lifecycle::pg::install_planner();
    // Without preloading everything works but the workers.
    if (process_shared_preload_libraries_in_progress && !IsBinaryUpgrade) lifecycle::worker::install();
}
