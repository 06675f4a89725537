// The error boundary: what may fail inside the shop's transaction, and as whom it runs.
//
// No exception exists in this module, and every frame that can reach the server holds trivially destructible objects only, so an
// error (a longjmp) passes through our code harmlessly. What is left to decide is where it stops, and that is here.
#pragma once

#include <type_traits>

#include "pg/postgres.hpp"

namespace lifecycle::pg {

namespace detail {
using Body = void (*)(void*);
ErrorData* protect(Body body, void* arg);
ErrorData* attempt(Body body, void* arg);
void as_owner(Body body, void* arg);
void as_owner_of(Oid relation, Body body, void* arg);

template <class F>
void call(void* f) {
    static_assert(std::is_trivially_destructible_v<F>);
    (*static_cast<F*>(f))();
}
}  // namespace detail

// Runs `body` in a subtransaction. If it fails, what it wrote is undone and the error is returned (in the caller's memory
// context); nullptr is success. Cancels, shutdown, deadlocks and serialization failures are not ours to keep: they pass.
template <class F>
ErrorData* protect(F&& body) {
    return detail::protect(detail::call<std::remove_reference_t<F>>, &body);
}

// The same for code that only computes (it writes nothing and takes no lock): no subtransaction, so it costs nanoseconds.
template <class F>
ErrorData* attempt(F&& body) {
    return detail::attempt(detail::call<std::remove_reference_t<F>>, &body);
}

// Runs `body` with the rights of the extension's owner: a shop role that inserts an order has none in our schema. Only
// our own fixed statements run in there, never text that a user wrote.
template <class F>
void as_owner(F&& body) {
    detail::as_owner(detail::call<std::remove_reference_t<F>>, &body);
}

// Runs `body` with the rights of a table's owner and no more: where the types of its columns may run code of his.
template <class F>
void as_owner_of(Oid relation, F&& body) {
    detail::as_owner_of(relation, detail::call<std::remove_reference_t<F>>, &body);
}

// Fixes search_path, and what would sway the planner, for the rest of the as_owner() it is called in.
void fix_settings();

// Whether an error belongs to the client or the server and must not be swallowed.
bool passes_through(int sqlstate);

}  // namespace lifecycle::pg
