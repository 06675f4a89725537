// What a session keeps of the configuration.
#pragma once

#include <new>

#include "pg/catalog.hpp"

namespace lifecycle::pg {

template <class T>
T* make() {
    static_assert(std::is_trivially_destructible_v<T>);
    return new (palloc0(sizeof(T))) T{};
}

// A value built from configuration tables, kept until they change. It is built in a context of its own:
//     if (!cached.is_current()) { begin(); ... build ...; finish(value); }
// An error on the way leaves the old value in place, and the half-built one goes with its context.
template <class T>
struct Cached {
    T* value = nullptr;
    MemoryContext context = nullptr;
    MemoryContext kept = nullptr;
    uint64 generation = 0;

    bool is_current() const { return value != nullptr && generation == config_generation(); }

    // Switches to the new context and returns the caller's.
    MemoryContext begin() {
        if (context != nullptr && context != kept) MemoryContextDelete(context);
        context = AllocSetContextCreate(CacheMemoryContext, "pg_lifecycle configuration", ALLOCSET_DEFAULT_SIZES);
        building = config_generation();
        return MemoryContextSwitchTo(context);
    }
    void finish(T* fresh) {
        if (kept != nullptr) MemoryContextDelete(kept);
        kept = context;
        value = fresh;
        generation = building;
    }

    uint64 building = 0;
};

}  // namespace lifecycle::pg
