#include "engine/engine.hpp"

#include <algorithm>
#include <new>
#include <utility>

#include "customer/erased.hpp"
#include "customer/items.hpp"
#include "customer/ledger.hpp"
#include "customer/log.hpp"
#include "customer/merged.hpp"
#include "customer/shop.hpp"
#include "customer/store.hpp"
#include "loyalty/coupons.hpp"
#include "loyalty/loyalty.hpp"
#include "loyalty/points.hpp"
#include "outbox/enqueue.hpp"
#include "outbox/feedback.hpp"
#include "outbox/sent.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/guard.hpp"
#include "pg/settings.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"
#include "pg/transaction.hpp"
#include "scenario/enrolments.hpp"
#include "segment/membership.hpp"

namespace lifecycle::engine {

namespace {

pg::Statement fold{.sql = "SELECT lifecycle.fold_baskets()"};
pg::Statement mend_members{.sql = "SELECT lifecycle.mend_members()"};
pg::Statement recount{.sql = "SELECT lifecycle.recount_baskets()"};
pg::Statement settle_referrals{.sql = "SELECT lifecycle.settle_referrals()"};

// Bounds the memory of a large statement: what a batch needs is freed before the next begins. It is gone through a dozen times, so it should not
// be much larger than what a processor keeps at hand.
constexpr size_t kCustomersPerBatch = 500;
constexpr size_t kCustomersPerReplay = 5000;

// What a batch needs is freed after it, and glibc gives it back to the operating system, which then hands it out again page by page: a tenth of what
// a batch takes. From a large block that is freed it learns to keep so much.
void keep_memory_between_batches() {
    static bool kept = false;
    if (std::exchange(kept, true)) return;
    constexpr Size kMostThatIsLearnt = 32 * 1024 * 1024;
    pfree(MemoryContextAllocHuge(CurrentMemoryContext, kMostThatIsLearnt - kMostThatIsLearnt / 16));
}

void run_later_stages(Batch batch, pg::TableWriter* rows) {
    scenario::Outgoing outgoing;
    segment::classify(batch);
    scenario::advance(batch, &outgoing);
    for (Change& change : batch) change.after.set_instant(kAsOf, change.now);
    customer::store(batch, rows);
    outbox::take_feedback(batch);
    outbox::enqueue(outgoing, batch[0].now);
}

// The customers of the batch are locked and loaded.
void run_stages(Batch batch, pg::TableWriter* rows) {
    batch = customer::leave_out_erased(batch);
    if (batch.empty()) {
        pg::close_writer(rows);
        return;
    }
    // Only news can meet customers that a changed definition has not reached yet; locked, they catch up first, as if nothing were new.
    if (!batch[0].replay && catch_up_with_definitions(batch)) {
        pg::close_writer(rows);
        rows = customer::lock(batch);
    }
    customer::take_in_profiles(batch);
    customer::take_in_log(batch);
    customer::price_orders(batch);
    customer::take_in_purchases(batch, loyalty::tiers_end());
    customer::show_carts(batch);
    // What counts towards a tier comes before the tier; else the tier, whose multiplier is for what is earned in it.
    bool points_first = loyalty::tiers_count_points();
    if (points_first) loyalty::keep_points(batch);
    loyalty::award_tiers(batch);
    if (!points_first) loyalty::keep_points(batch);
    loyalty::take_in_coupons(batch);
    run_later_stages(batch, rows);
}

void run_stages(Batch batch, bool lock_late = false) { run_stages(batch, customer::lock(batch, lock_late)); }

Change make_change(std::string_view customer, std::span<Fact> facts, Instant now, Options options) {
    Change change{};
    change.customer_id = customer;
    change.facts = facts;
    change.now = now;
    change.silent = options.silent;
    change.news_from = options.news_from;
    change.replay = options.replay;
    change.recount = options.recount;
    change.paid_order = options.paid_order;
    change.gathered = options.gathered;
    change.next_flip = rules::kNever;
    change.tier_due = rules::kNever;
    change.corrected_from = rules::kNever;
    change.late_touch = rules::kNever;
    change.next_happening = rules::kNever;
    return change;
}

// Where the facts of which customer stand.
struct ByCustomer {
    uint64 prefix;  // the first eight bytes of the id, so that most comparisons look no further
    uint32 index;
};

uint64 prefix_of(std::string_view id) {
    uint64 prefix = 0;
    for (size_t i = 0; i < 8; ++i) prefix = prefix << 8 | (i < id.size() ? static_cast<unsigned char>(id[i]) : 0);
    return prefix;
}

// Sorts by prefix, byte by byte from the last; keeps the order of equals. Several times as fast as comparing for a million facts.
void sort_by_prefix(std::span<ByCustomer> keys) {
    auto counts = pg::zeroed<size_t>(8 * 256);
    for (const ByCustomer& key : keys) {
        for (int byte = 0; byte < 8; ++byte) ++counts[byte * 256 + (key.prefix >> (8 * byte) & 0xFF)];
    }
    auto scratch = pg::zeroed<ByCustomer>(keys.size());
    auto from = keys;
    auto to = scratch;
    for (int byte = 0; byte < 8; ++byte) {
        auto count = counts.subspan(byte * 256, 256);
        if (count[keys[0].prefix >> (8 * byte) & 0xFF] == keys.size()) continue;  // the same for all
        size_t start = 0;
        for (size_t& c : count) start += std::exchange(c, start);
        for (const ByCustomer& key : from) to[count[key.prefix >> (8 * byte) & 0xFF]++] = key;
        std::swap(from, to);
    }
    if (from.data() != keys.data()) std::copy(from.begin(), from.end(), keys.begin());
    pfree(scratch.data());
    pfree(counts.data());
}

std::span<ByCustomer> sorted_by_customer(std::span<const Fact> facts) {
    auto keys = pg::zeroed<ByCustomer>(facts.size());
    for (size_t i = 0; i < facts.size(); ++i) keys[i] = {prefix_of(facts[i].customer), static_cast<uint32>(i)};
    if (keys.size() < 2) return keys;
    sort_by_prefix(keys);

    // Ids that agree in their first eight bytes are compared whole; a shorter one has zeros there.
    auto before = [&](const ByCustomer& a, const ByCustomer& b) {
        int order = facts[a.index].customer.compare(facts[b.index].customer);
        return order != 0 ? order < 0 : a.index < b.index;
    };
    for (size_t start = 0, end; start < keys.size(); start = end) {
        bool longer = false;
        for (end = start; end < keys.size() && keys[end].prefix == keys[start].prefix; ++end)
            longer |= facts[keys[end].index].customer.size() > 8;
        if (longer) std::sort(keys.begin() + start, keys.begin() + end, before);
    }
    return keys;
}

// The facts of the next customers, up to a batch, with one Change for each customer. `next` moves on past them.
Batch next_batch(std::span<const Fact> facts, std::span<const ByCustomer> keys, size_t* next, Options options) {
    Instant now = pg::now();
    size_t end = *next;
    size_t customers = 0;
    pg::Array<size_t> starts;
    for (; end < keys.size(); ++end) {
        bool another = end == *next || facts[keys[end].index].customer != facts[keys[end - 1].index].customer;
        if (another && customers++ == kCustomersPerBatch) break;
        if (another) starts.push(end);
    }
    // Both are large: written once, not cleared first.
    pg::Array<Fact> own;
    own.reserve(end - *next);
    for (size_t i = *next; i < end; ++i) own.push(facts[keys[i].index]);
    pg::Array<Change> batch;
    batch.reserve(starts.size);
    for (size_t i = 0; i < starts.size; ++i) {
        size_t first = starts[i] - *next;
        size_t last = (i + 1 < starts.size ? starts[i + 1] : end) - *next;
        new (&batch.data[batch.size++]) Change(make_change(own[first].customer, own.span().subspan(first, last - first), now, options));
    }
    *next = end;
    return batch.span();
}

}  // namespace

void take_in(std::span<const Fact> said, Options options) {
    auto facts = customer::assign_owners(customer::follow_merged(said));
    auto keys = sorted_by_customer(facts);
    size_t next = 0;
    bool many = facts.size() > kCustomersPerBatch;
    Gathered gathered{};
    if (many) {
        keep_memory_between_batches();
        customer::begin(&gathered);
        options.gathered = &gathered;
    }
    while (next < facts.size()) {
        pg::as_owner([&] {
            pg::open_spi();
            run_stages(next_batch(facts, keys, &next, options), options.lock_late);
            pg::close_spi();
        });
        CHECK_FOR_INTERRUPTS();
    }
    if (many) pg::as_owner([&] { customer::write(&gathered); });
}

void lock_customers(std::span<const Fact> facts) {
    auto keys = sorted_by_customer(facts);
    pg::as_owner([&] {
        pg::open_spi();
        pg::Array<Datum> ids;
        for (size_t i = 0; i < keys.size(); ++i) {
            std::string_view id = facts[keys[i].index].customer;
            if (id.empty()) continue;  // whose it is will be known when it is taken in
            if (i == 0 || id != facts[keys[i - 1].index].customer) ids.push(pg::to_datum(id));
        }
        customer::lock_sorted(ids.span());
        pg::close_spi();
    });
}

void bring_up_to_date(std::span<const std::string_view> customers, Options options,
                      std::span<const std::span<const Occurrence>> occurrences) {
    if (customers.empty()) return;
    Instant now = pg::now();
    auto batch = pg::zeroed<Change>(customers.size());
    for (size_t i = 0; i < customers.size(); ++i) batch[i] = make_change(customers[i], {}, now, options);
    for (size_t i = 0; i < occurrences.size(); ++i) batch[i].occurrences = occurrences[i];
    run_stages(batch);
}

// Of a batch that is due, so many at a time: they are locked first and written last, and their pages had better still be at hand then.
constexpr int kCustomersPerPass = 500;

// From here on the log of a batch is worth a wake-up of the process that writes it.
constexpr size_t kLargeBatch = 100;

int64 work_off_some(int limit, customer::Position* after) {
    Instant now = pg::now();
    int done = 0;
    while (done < limit) {
        auto due = customer::lock_due(now, Min(kCustomersPerPass, limit - done), after);
        if (due.empty()) break;
        pg::Array<Change> made;  // large ones: written once, not cleared first
        made.reserve(due.size());
        for (const customer::Due& d : due) new (&made.data[made.size++]) Change(make_change(d.customer, {}, now, {}));
        Batch batch = made.span();
        run_stages(batch, customer::load(batch, due));
        done += static_cast<int>(due.size());
        pfree(made.data);
        pfree(due.data());
        if (done < limit) CHECK_FOR_INTERRUPTS();
    }
    if (static_cast<size_t>(done) >= kLargeBatch) pg::have_log_written();
    return done;
}

void tidy() {
    outbox::tidy();
    segment::tidy();
    loyalty::tidy_coupons();
    settle_referrals.run();
}

int64 tick_once(int limit, customer::Position* after) {
    int64 done = 0;
    keep_memory_between_batches();
    pg::as_owner([&] {
        pg::open_spi();
        done = work_off_some(limit, after);
        if (done == 0) {
            if (customer::is_armed()) tidy();
            done = redefine_some();
        }
        pg::close_spi();
    });
    return done;
}

int64 fold_baskets() {
    int64 done = 0;
    pg::as_owner([&] {
        pg::open_spi();
        if (customer::is_armed()) {
            fold.run();
            done = DatumGetInt64(pg::cell(0, 1).value);
        }
        pg::close_spi();
    });
    return done;
}

Instant next_due() {
    Instant due = rules::kNever;
    pg::as_owner([&] {
        pg::open_spi();
        due = std::min({customer::next_due(), outbox::next_look(), outbox::next_note()});
        pg::close_spi();
    });
    return due;
}

void postpone_first() {
    pg::as_owner([&] {
        pg::open_spi();
        customer::postpone_first(pg::now());
        pg::close_spi();
    });
}

namespace {

// Nothing has fallen due since the row was written: what it says is what is.
bool is_up_to_date(const Change& change) {
    return change.before.instant(kNextChangeAt, rules::kNever) > change.now && change.before.instant(kAsOf, rules::kBeginning) <= change.now;
}

}  // namespace

std::span<const std::string_view> replay_next(std::string_view after, int limit, Anew anew, Instant news_from, Gathered* gathered) {
    Options options{.silent = true, .replay = true, .news_from = news_from, .gathered = gathered};
    if (anew == Anew::everything || segment::read_loyalty()) {
        auto some = customer::some_customers(after, limit);
        bring_up_to_date(some, options);
        return some;
    }
    Change blank = make_change({}, {}, pg::now(), options);
    blank.redefined = true;
    Batch batch = customer::lock_next(after, limit, blank);
    auto ids = pg::zeroed<std::string_view>(batch.size());
    for (size_t i = 0; i < batch.size(); ++i) ids[i] = batch[i].customer_id;
    pg::Array<std::string_view> behind;
    size_t current = 0;
    for (Change& change : batch) {
        if (!is_up_to_date(change)) {
            behind.push(change.customer_id);
        } else if (&change != &batch[current++]) {
            batch[current - 1] = change;
        }
    }
    if (current > 0) run_later_stages(batch.first(current), pg::open_writer(pg::table_oid(pg::Table::customer)));
    bring_up_to_date(behind.span(), options);
    return ids;
}

void replay_everybody(Anew anew) {
    bool more = true;
    MemoryContext caller = CurrentMemoryContext;
    pg::Array<char> after;
    Gathered gathered{};
    customer::begin(&gathered);
    while (more) {
        pg::as_owner([&] {
            pg::open_spi();
            auto some = replay_next({after.data, after.size}, kCustomersPerReplay, anew, rules::kNever, &gathered);
            more = !some.empty();
            if (more) {
                MemoryContext inner = MemoryContextSwitchTo(caller);
                after.clear();
                for (char c : some.back()) after.push(c);
                MemoryContextSwitchTo(inner);
            }
            pg::close_spi();
        });
        CHECK_FOR_INTERRUPTS();
    }
    pg::as_owner([&] { customer::write(&gathered); });
}

}  // namespace lifecycle::engine

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_rebuild) {
    engine::replay_everybody(engine::Anew::everything);
    pg::as_owner([] {
        pg::open_spi();
        engine::mend_members.run();
        engine::recount.run();
        pg::close_spi();
    });
    PG_RETURN_VOID();
}

// lifecycle.bring_up_to_date(customers, from_scratch): the pipeline for these customers, as time alone would run it, or anew from the ledger.
LIFECYCLE_FUNCTION(lifecycle_bring_up_to_date) {
    auto ids = pg::elements_of(PG_GETARG_DATUM(0));
    bool from_scratch = PG_GETARG_BOOL(1);
    pg::as_owner([&] {
        pg::Array<std::string_view> customers;
        for (int i = 0; i < ids.count; ++i) {
            if (ids.nulls == nullptr || !ids.nulls[i]) customers.push(pg::view(ids.values[i]));
        }
        std::sort(customers.begin(), customers.end());
        customers.size = static_cast<size_t>(std::unique(customers.begin(), customers.end()) - customers.begin());
        pg::open_spi();
        engine::bring_up_to_date(customers.span(), {.silent = from_scratch, .replay = from_scratch});
        pg::close_spi();
    });
    PG_RETURN_VOID();
}

LIFECYCLE_FUNCTION(lifecycle_note_config_change) {
    pg::config_changed();
    PG_RETURN_VOID();
}

// The statement trigger behind changed definitions of segments and tiers.
LIFECYCLE_FUNCTION(lifecycle_definitions_changed) {
    if (TRIGGER_FIRED_BEFORE(castNode(TriggerData, fcinfo->context)->tg_event)) {
        if (!pg::restoring()) engine::work_off_due();
        PG_RETURN_POINTER(nullptr);
    }
    pg::config_changed();
    if (pg::restoring()) PG_RETURN_POINTER(nullptr);
    std::string_view table = RelationGetRelationName(castNode(TriggerData, fcinfo->context)->tg_relation);
    bool segments = table == "segment" || table == "rfm_threshold";
    engine::definitions_changed(segments ? engine::Anew::segments : engine::Anew::everything);
    PG_RETURN_POINTER(nullptr);
}

// Brings customers up to date after functions of ours have changed their points; they exist and are locked.
LIFECYCLE_FUNCTION(lifecycle_points_changed) {
    auto ids = pg::elements_of(PG_GETARG_DATUM(0));
    pg::Array<std::string_view> customers;
    for (int i = 0; i < ids.count; ++i) {
        if (!ids.nulls[i]) customers.push(pg::view(ids.values[i]));
    }
    std::sort(customers.begin(), customers.end());
    customers.size = static_cast<size_t>(std::unique(customers.begin(), customers.end()) - customers.begin());
    auto order = PG_ARGISNULL(1) ? std::string_view{} : pg::view(PG_GETARG_DATUM(1));
    pg::as_owner([&] {
        pg::open_spi();
        engine::bring_up_to_date(customers.span(), {.recount = true, .paid_order = order});
        pg::close_spi();
    });
    PG_RETURN_VOID();
}
