// Telling customers what was sent to them, from the notes that mailers leave. Nobody is waited for: not by a mailer, which locks no
// customer, and not by us, who leave those that somebody else has locked for later.
#include "outbox/sent.hpp"

#include "engine/engine.hpp"
#include "pg/clock.hpp"
#include "pg/fault.hpp"
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "pg/statement.hpp"

namespace lifecycle::engine {

namespace {

pg::Statement lock_free{
    .sql = "SELECT c.customer_id FROM lifecycle.customer AS c WHERE c.customer_id = ANY ($1) ORDER BY c.customer_id FOR UPDATE SKIP LOCKED",
    .types = {TEXTARRAYOID}};

// Puts the messages of customers who could be locked first, still by customer, and returns how many those are.
size_t lock(std::span<outbox::Sent> sent) {
    pg::Array<Datum> ids;
    for (const outbox::Sent& s : sent) ids.push(pg::to_datum(s.customer));
    Datum arg = pg::text_array(ids.span());
    uint64 rows = lock_free.run({&arg, 1});
    pg::Array<outbox::Sent> others;
    size_t locked = 0;
    uint64 row = 0;
    for (const outbox::Sent& s : sent) {
        while (row < rows && pg::compare(pg::view(pg::cell(row, 1).value), s.customer) < 0) ++row;
        if (row < rows && pg::view(pg::cell(row, 1).value) == s.customer) {
            sent[locked++] = s;
        } else {
            others.push(s);
        }
    }
    std::copy(others.begin(), others.end(), sent.begin() + static_cast<ptrdiff_t>(locked));
    return locked;
}

// One customer that cannot be brought up to date must not keep the others from it.
void take_in_or_put_off(std::span<const outbox::Sent> sent) {
    if (sent.empty()) return;
    ErrorData* error = pg::protect([&] {
        pg::fault_point("sent");
        take_in(outbox::facts_of(sent), {});
    });
    if (error == nullptr) return;
    size_t middle = sent.size() / 2;
    while (middle > 0 && sent[middle].customer == sent[middle - 1].customer) --middle;
    if (middle == 0) {
        middle = sent.size() / 2;
        while (middle < sent.size() && sent[middle].customer == sent[0].customer) ++middle;
    }
    if (middle < sent.size()) {
        FreeErrorData(error);
        take_in_or_put_off(sent.first(middle));
        take_in_or_put_off(sent.subspan(middle));
        return;
    }
    ereport(WARNING, errcode(error->sqlerrcode),
            errmsg("customer \"%s\" could not be told what was sent: %s", pg::to_cstring(sent[0].customer), error->message),
            errdetail("It will be tried again in an hour."));
    pg::as_owner([&] {
        pg::open_spi();
        outbox::put_back(sent, pg::now() + USECS_PER_HOUR);
        pg::close_spi();
    });
}

}  // namespace

int64 take_in_sent() {
    MemoryContext caller = CurrentMemoryContext;
    std::span<outbox::Sent> sent;
    size_t locked = 0;
    pg::as_owner([&] {
        pg::open_spi();
        MemoryContext inner = MemoryContextSwitchTo(caller);
        sent = outbox::take_notes(pg::now(), pg::settings.batch_size);
        MemoryContextSwitchTo(inner);
        if (!sent.empty()) {
            locked = lock(sent);
            outbox::put_back(sent.subspan(locked), rules::kBeginning);
        }
        pg::close_spi();
    });
    take_in_or_put_off(sent.first(locked));
    return static_cast<int64>(locked);
}

}  // namespace lifecycle::engine
