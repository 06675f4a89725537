#include "loyalty/occasions.hpp"

#include <algorithm>

#include "customer/ledger.hpp"
#include "customer/shop.hpp"
#include "loyalty/recent_lots.hpp"
#include "loyalty/streaks.hpp"
#include "pg/catalog.hpp"
#include "pg/clock.hpp"
#include "pg/statement.hpp"
#include "pg/table.hpp"

namespace lifecycle::loyalty {

// An order is known by its own id, which refunds and redeem_points() name; other keys must not be mistaken for one.
std::string_view reference_of(const Occasion& o) {
    if (o.earns_on == "order") return o.key;
    return {psprintf("%s:%s", pg::to_cstring(o.earns_on), pg::to_cstring(o.key)), o.earns_on.size() + 1 + o.key.size()};
}

namespace {

pg::Statement read_references{
    .sql = "SELECT DISTINCT e.reference FROM lifecycle.points_entry AS e WHERE e.customer_id = $1", .types = {TEXTOID}};

pg::Statement note_referrals{.sql = "SELECT lifecycle.note_referrals($1, $2, $3)", .types = {TEXTARRAYOID, TEXTARRAYOID, INT4ARRAYOID}};
pg::Statement note_referred{
    .sql = "INSERT INTO lifecycle.referral_check (referred)"
           " SELECT r.referred FROM lifecycle.points_referral AS r WHERE r.referred = ANY ($1)",
    .types = {TEXTARRAYOID}};

// Gathers the occasions among a change's facts.
struct Gathering {
    const Points& points;
    pg::Array<Occasion>& into;
    pg::TableWriter* entries = nullptr;

    bool has_entries(Change& change, std::string_view reference) {
        if (!change.existed) return false;
        // Where nothing earns points, the row had better not carry a filter that says so.
        if (change.after.nulls[kPointsSeen] && points.rules.empty() && !has_recent_lots(change.before) && nobody_has_points()) return false;
        if (change.after.nulls[kPointsSeen]) note_all(change);
        if (!may_have_entries(change.after, reference)) return false;
        if (has_recent_lots(change.after) && is_waiting(change, reference)) return true;
        if (nobody_has_points()) return false;
        if (entries == nullptr) entries = pg::open_writer(pg::table_oid(pg::Table::points_entry));
        Datum key[] = {change.after.values[kCustomerId], pg::to_datum(reference)};
        ItemPointerData row;
        return pg::find(entries, key, &row);
    }

    // Asked only where the customer's row leaves it open.
    static bool nobody_has_points() { return pg::is_empty(pg::table_oid(pg::Table::points_entry)); }

    // Which references there are, from now on with the customer.
    void note_all(Change& change) {
        note_no_references(change.after);
        if (nobody_has_points() && !has_recent_lots(change.before)) return;
        uint64 rows = read_references.run({&change.after.values[kCustomerId], 1});
        for (uint64 i = 0; i < rows; ++i) note_reference(change.after, pg::text_cell(i, 1));
    }

    // Whether more has to be looked at than the orders that are new.
    bool is_plain(Change& change) {
        bool fell_due = change.before.instant(kNextFactAt, rules::kNever) <= change.now;
        if ((change.existed && fell_due) || !change.paid_order.empty()) return false;
        for (const Fact& fact : change.facts) {
            if (fact.kind == FactKind::refund) return false;
            if (fact.kind == FactKind::order && (fact.withdrawn || has_entries(change, fact.id))) return false;
        }
        return true;
    }

    void plain(Change& change) {
        if (!points.on_orders) return;
        pg::Array<std::string_view> ids;
        for (const Fact& order : change.orders_taken_in) ids.push(order.id);
        std::sort(ids.begin(), ids.end());
        if (std::adjacent_find(ids.begin(), ids.end()) != ids.end()) {  // several rows are one order
            compare(change);
            return;
        }
        for (const Fact& order : change.orders_taken_in)
            into.push({&change, "order", {}, order.id, order.source_id, order.at, order.amount, {}, false, false});
    }

    // Looks at each order that the facts concern as it is now.
    void compare(Change& change) {
        auto purchases = customer::purchases_of(change);
        pg::Array<std::string_view> ids;
        Instant seen = change.existed ? change.before.instant(kAsOf, rules::kBeginning) : rules::kBeginning;
        bool refund_gone = false;
        for (const Fact& fact : change.facts) {
            if (fact.kind == FactKind::order) ids.push(fact.id);
            if (fact.kind == FactKind::refund && !fact.order.empty()) ids.push(fact.order);
            refund_gone |= fact.kind == FactKind::refund && fact.withdrawn;
        }
        for (const Fact& p : purchases) {
            if (p.at > seen && p.at <= change.now && p.kind == FactKind::order) ids.push(p.id);
            if (p.at > seen && p.at <= change.now && p.kind == FactKind::refund && !p.order.empty()) ids.push(p.order);
        }
        if (!change.paid_order.empty()) ids.push(change.paid_order);
        if (refund_gone) {  // a refund that goes does not say which order it was of
            uint64 rows = read_references.run({&change.after.values[kCustomerId], 1});
            for (uint64 i = 0; i < rows; ++i) ids.push(pg::text_cell(i, 1));
        }
        std::sort(ids.begin(), ids.end());
        for (size_t i = 0; i < ids.size; ++i) {
            if (i > 0 && ids[i] == ids[i - 1]) continue;
            Occasion o = order_now(change, purchases, ids[i]);
            if (o.gone && !withdrawn(change, ids[i])) continue;  // it has not come yet
            // A refund of what we have never heard of, or of an order without points, concerns no points.
            if (has_entries(change, ids[i])) {
                o.known = true;
                into.push(o);
            } else if (!o.gone) {
                o.known = o.refunded > rules::Decimal{};
                bool is_new = o.at > seen || !change.existed;
                for (const Fact& fact : change.facts) is_new |= fact.kind == FactKind::order && !fact.withdrawn && fact.id == ids[i];
                if (is_new) into.push(o);
            }
        }
    }

    static bool withdrawn(const Change& change, std::string_view id) {
        return std::any_of(change.facts.begin(), change.facts.end(),
                           [&](const Fact& f) { return f.kind == FactKind::order && f.withdrawn && f.id == id; });
    }

    Occasion order_now(Change& change, std::span<const Fact> purchases, std::string_view id) {
        Occasion o{&change, "order", {}, id, 0, rules::kNever, {}, {}, true, false};
        for (const Fact& p : purchases) {
            if (p.at > change.now) break;
            if (p.kind == FactKind::order && p.id == id) {
                o.gone = false;
                o.source_id = p.source_id;
                o.at = std::min(o.at, p.at);
                o.amount = rules::add(o.amount, p.amount).value_or(o.amount);
            }
            if (p.kind == FactKind::refund && p.order == id) o.refunded = rules::add(o.refunded, p.amount).value_or(o.refunded);
        }
        return o;
    }

    // What is rewarded once and never taken back, for what it was for.
    void once(const Occasion& o) {
        bool rewarded = has_entries(*o.change, reference_of(o));
        for (const Occasion& other : into)
            rewarded |= other.change == o.change && other.earns_on == o.earns_on && other.event == o.event && other.key == o.key;
        if (!rewarded && o.at <= o.change->now) into.push(o);
    }

    // Reviews and events: what goes first, so that what comes with the same key has the last word.
    void activities(Change& change) {
        for (const Fact& fact : change.facts) {
            if (fact.withdrawn && (fact.kind == FactKind::review || fact.kind == FactKind::event))
                activity(change, fact.kind, pg::view(fact.fields[0]), fact.at, true);
        }
        for (const Happening& h : change.happened) {
            if (h.kind == FactKind::review || h.kind == FactKind::event) activity(change, h.kind, h.id, h.at, false);
        }
    }

    void activity(Change& change, FactKind kind, std::string_view id, Instant at, bool gone) {
        if (kind == FactKind::review) {
            occurrence(change, {"review", {}, id, at, {}, gone});
        } else {  // the same event may happen again and again
            const char* key = psprintf("%s@" INT64_FORMAT, pg::to_cstring(id), at);
            occurrence(change, {"event", id, key, at, {}, gone});
        }
    }

    void occurrences(Change& change) {
        for (const Occurrence& what : change.occurrences) occurrence(change, what);
    }

    void occurrence(Change& change, const Occurrence& what) {
        Occasion o{&change, what.kind, what.event, what.key, 0, what.at, what.amount, {}, what.gone, false};
        o.known = has_entries(change, reference_of(o));
        Occasion* before = nullptr;  // said twice: the later word counts
        for (Occasion& other : into) {
            if (other.change == &change && other.earns_on == o.earns_on && other.key == o.key) before = &other;
        }
        if (before != nullptr) {
            *before = o;
        } else if (o.known || !o.gone) {
            into.push(o);
        }
    }

    // The first order of a year in a season; its refund does not end the season.
    void seasons(Change& change) {
        pg::Array<Fact> orders;
        for (const Fact& order : change.orders_taken_in) orders.push(order);
        std::sort(orders.begin(), orders.end(), [](const Fact& a, const Fact& b) {
                return a.at != b.at ? a.at < b.at : a.kind != b.kind ? a.kind < b.kind : a.id < b.id;
            });
        for (const PointsRule& rule : points.rules) {
            if (rule.earns_on != "season") continue;
            for (const Fact& order : orders) {
                if (!rule.fits("season", rule.event, order.at, order.amount)) continue;
                auto year = year_of(change, order.at);
                once({&change, "season", rule.event, {psprintf("%s:%d", pg::to_cstring(rule.event), year), rule.event.size() + 1 + 4},
                      order.source_id, order.at, order.amount, {}, false, false});
            }
        }
    }

    int year_of(const Change& change, Instant t) {
        int year = 0;
        pg::keep_zone([&] {
            pg::use_zone(customer::zone_of(change.after));
            year = calendar_year(t);
        });
        return year;
    }

    // Once a year, whatever becomes of the date. The next one has to wake the customer.
    void birthdays(Change& change, Balance& balance) {
        if (change.after.nulls[kBirthday]) return;
        Instant since = change.existed ? change.before.instant(kAsOf, change.now) : change.now;
        // Worked out anew, what has been is left alone, but for what is due just now.
        if (change.replay && change.before.instant(kLoyaltyDueAt, rules::kNever) > change.now) since = change.now;
        pg::keep_zone([&] {
            pg::use_zone(customer::zone_of(change.after));
            DateADT birthday = DatumGetDateADT(change.after.values[kBirthday]);
            for (int year = calendar_year(since);; ++year) {
                Instant at = birthday_in(birthday, year);
                if (at == rules::kNever) continue;  // a year without the day
                if (at > change.now) {
                    balance.due_at(at);
                    break;
                }
                if (at <= since) continue;
                once({&change, "birthday", {}, {psprintf("%04d", year), 4}, 0, at, {}, {}, false, false});
            }
        });
    }

    void consents(Change& change) {
        for (const Fact& fact : change.facts) {
            if (fact.kind != FactKind::consent || fact.withdrawn || pg::view(fact.fields[1]) != "granted") continue;
            auto channel = pg::view(fact.fields[0]);
            Occasion o{&change, "consent", channel, channel, fact.source_id, DatumGetTimestampTz(fact.fields[2]), {}, {}, false, false};
            once(o);  // for each channel, however often it is withdrawn and given again
        }
    }
};

bool has_purchases(const Change& change) {
    return !change.orders_taken_in.empty() || !change.paid_order.empty() || change.before.instant(kNextFactAt, rules::kNever) <= change.now ||
           std::any_of(change.facts.begin(), change.facts.end(),
                       [](const Fact& f) { return f.kind == FactKind::order || f.kind == FactKind::refund; });
}

// Whoever was referred has bought or been refunded: the tick sees to the rewards, which are somebody else's, too.
void look_at_referrals(Batch batch) {
    pg::Array<Datum> customers, referrers, referrals, gone;
    for (const Change& change : batch) {
        auto add = [&](std::string_view referral, bool withdrawn) {
            referrers.push(change.after.values[kCustomerId]);
            referrals.push(pg::to_datum(referral));
            gone.push(Int32GetDatum(withdrawn ? 1 : 0));
        };
        for (const Fact& fact : change.facts) {
            if (fact.kind == FactKind::referral && fact.withdrawn) add(pg::view(fact.fields[0]), true);
        }
        for (const Happening& h : change.happened) {
            if (h.kind == FactKind::referral) add(h.id, false);
        }
    }
    if (!referrers.empty()) {
        Datum args[] = {pg::text_array(referrers.span()), pg::text_array(referrals.span()), pg::int4_array(gone.span())};
        note_referrals.run(args);
    }
    for (const Change& change : batch) {
        if (has_purchases(change)) customers.push(change.after.values[kCustomerId]);
    }
    if (customers.empty()) return;
    Datum arg = pg::text_array(customers.span());
    note_referred.run({&arg, 1});
}

}  // namespace

void gather_occasions(Batch batch, const Points& points, Balances& balances, pg::Array<Occasion>* into) {
    Gathering gathering{points, *into};
    for (Change& change : batch) {
        if (!change.existed && !points.rules.empty()) {
            note_no_references(change.after);
        } else if (!change.paid_order.empty()) {
            note_reference(change.after, change.paid_order);
        }
        if (has_purchases(change)) gathering.is_plain(change) ? gathering.plain(change) : gathering.compare(change);
        if (points.on_consents) gathering.consents(change);
        if (points.on_seasons) gathering.seasons(change);
        if (points.on_birthdays) gathering.birthdays(change, balances.of(change));
        if (points.on_activities) gathering.activities(change);
        if (points.on_streaks) gather_streaks(change, points, has_purchases(change), into);
        gathering.occurrences(change);
    }
    if (gathering.entries != nullptr) pg::close_writer(gathering.entries);
    if (points.on_referrals) look_at_referrals(batch);
}

}  // namespace lifecycle::loyalty
