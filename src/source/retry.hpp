#pragma once

#include "customer/store.hpp"
#include "engine/engine.hpp"
#include "pg/catalog.hpp"
#include "pg/guard.hpp"

namespace lifecycle::source {

// pg::protect(), done again where another session was first to create a customer, or has merged one. At isolation levels where that customer stays
// invisible, the error is the serialization failure that the shop expects there.
// The body gets options for what may be tried once only.
template <class F>
ErrorData* protect_and_retry(F&& body) {
    constexpr int kTries = 10;
    for (int tries = 1;; ++tries) {
        engine::Options options{.lock_late = tries == 1 && !IsolationUsesXactSnapshot()};
        ErrorData* error = pg::protect([&] { body(options); });
        if (error == nullptr || !customer::lost_race(error)) return error;
        if (IsolationUsesXactSnapshot())
            ereport(ERROR, errcode(ERRCODE_T_R_SERIALIZATION_FAILURE),
                    errmsg("could not serialize access due to concurrent update"));
        if (tries == kTries) return error;
        FreeErrorData(error);
        pg::catch_up();
    }
}

// Takes in facts for a caller who wants to know of errors.
inline void take_in_or_raise(const pg::Array<Fact>& facts, engine::Options options) {
    if (facts.empty()) return;
    ErrorData* error = protect_and_retry([&](engine::Options) { engine::take_in({facts.data, facts.size}, options); });
    if (error != nullptr) ReThrowError(error);
}

}  // namespace lifecycle::source
