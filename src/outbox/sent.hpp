// What was sent is a fact about its customer, of the kind engagement. Mailers leave notes; the engine takes them in.
#pragma once

#include "customer/change.hpp"

namespace lifecycle::outbox {

// A message that was sent and that its customer does not know of yet.
struct Sent {
    int32 part;
    int64 message;
    std::string_view customer;
    Instant at;
};

// Leaves a note that these messages (bigint[]), which are in this part of the outbox, were sent.
void note_sent(Datum part, Datum message_ids);
// Takes notes away, until they speak of as many messages as are `wanted`, and returns those that reached somebody, by customer. What waits for later is left.
std::span<Sent> take_notes(Instant now, int wanted);
// Puts some of them back: until later, or until the customer is to be had. Whoever is no more needs none.
void put_back(std::span<const Sent> sent, Instant not_before);
// The messages of these customers that notes tell of.
std::span<Sent> noted_of(Datum customers);
// The rows of the last result: part, message_id, customer_id and sent_at of each message.
std::span<Sent> messages(uint64 rows);
// When the next note can be taken in; kNever: there is none.
Instant next_note();

// The facts that these messages say of their customers.
std::span<Fact> facts_of(std::span<const Sent> sent);

}  // namespace lifecycle::outbox
