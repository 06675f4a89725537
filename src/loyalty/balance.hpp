// What the points of a batch of customers add up to, and since when.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::loyalty {

// One customer's.
struct Balance {
    struct Step {
        Instant at;
        int64 points;
    };
    pg::Array<Step> steps;  // by how much what can be spent has changed
    Instant due = rules::kNever;
    bool recount = false;  // statements have changed lots: the sums are to be read

    void step(Instant at, int64 points) { steps.push({at, points}); }
    void due_at(Instant t) {
        if (t != rules::kBeginning && t < due) due = t;
    }
};

struct Balances {
    Batch batch;
    std::span<Balance> list;

    explicit Balances(Batch b) : batch(b), list(pg::zeroed<Balance>(b.size())) {
        for (Balance& balance : list) balance.due = rules::kNever;
    }
    Balance& of(const Change& change) { return list[static_cast<size_t>(&change - batch.data())]; }

    // Lets points become available and expire, as time has it.
    void settle();
    // Writes the balances into the rows and moments. A change of the balance by itself is a moment, too.
    void show();
};

}  // namespace lifecycle::loyalty
