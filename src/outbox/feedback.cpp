#include "outbox/feedback.hpp"

#include "customer/kinds.hpp"
#include "pg/statement.hpp"

namespace lifecycle::outbox {

namespace {

pg::Statement suppress{.sql = "SELECT lifecycle.take_feedback($1, $2, $3, $4)",
                       .types = {TEXTARRAYOID, TEXTARRAYOID, TIMESTAMPTZARRAYOID, TEXTARRAYOID}};

constexpr int kType = field::engagement_type - 1, kMessage = kType + 2;

}  // namespace

void take_feedback(Batch batch) {
    pg::Array<Datum> customers, types, at, messages;
    pg::Array<bool> no_message;
    for (const Change& change : batch) {
        for (const Fact& fact : change.facts) {
            if (fact.kind != FactKind::engagement || fact.withdrawn) continue;
            auto type = pg::view(fact.fields[kType]);
            if (type != "bounce" && type != "complaint") continue;
            customers.push(pg::to_datum(change.customer_id));
            types.push(fact.fields[kType]);
            at.push(TimestampTzGetDatum(fact.at));
            messages.push(fact.fields[kMessage]);
            no_message.push(fact.nulls[kMessage]);
        }
    }
    if (customers.empty()) return;
    Datum args[] = {pg::text_array(customers.span()), pg::text_array(types.span()), pg::instant_array(at.span()),
                    pg::text_array(messages.span(), no_message.data)};
    suppress.run(args);
}

}  // namespace lifecycle::outbox
