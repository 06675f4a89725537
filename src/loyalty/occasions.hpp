// The occasions that points rules may reward, as the facts of a batch tell them.
#pragma once

#include "loyalty/balance.hpp"
#include "loyalty/points_rules.hpp"

namespace lifecycle::loyalty {

struct Occasion {
    Change* change;
    std::string_view earns_on;    // as in points_rule.earns_on
    std::string_view event;       // as in points_rule.event; empty: none
    std::string_view key;         // the shop's id of it; the same key never earns twice
    int32 source_id;
    Instant at;
    rules::Decimal amount;
    rules::Decimal refunded;      // of the amount, until now
    bool gone;                    // it was taken back
    bool known;                   // there may be points of it already
};

// Under what an occasion stands in the ledger.
std::string_view reference_of(const Occasion& occasion);

// Gathers them, and tells the balances when the next ones will come by time alone.
void gather_occasions(Batch batch, const Points& points, Balances& balances, pg::Array<Occasion>* into);

}  // namespace lifecycle::loyalty
