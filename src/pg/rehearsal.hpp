// What is done as if, and undone.
#pragma once

#include "pg/guard.hpp"

namespace lifecycle::pg {

namespace detail {
void rehearse(const char* what, Body body, void* arg);
}

// Runs `body` in a subtransaction that is rolled back, whatever happens: its rows and locks go. Inside, the clock may be moved with
// freeze_clock(), and nothing is promised for the commit, neither a NOTIFY nor a wake-up of a worker. `what` is named where the
// transaction is read-only. Numbers that were taken from sequences stay taken.
template <class F>
void rehearse(const char* what, F&& body) {
    detail::rehearse(what, detail::call<std::remove_reference_t<F>>, &body);
}

bool is_rehearsing();

}  // namespace lifecycle::pg
