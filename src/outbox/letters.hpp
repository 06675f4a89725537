// What the messages of one step have in common: read once for a batch, not once for each message.
#pragma once

#include "scenario/enrolments.hpp"

namespace lifecycle::outbox {

// For customers of one locale and tier. 0 stands for NULL.
struct Letter {
    Datum channel, sort, delivery;  // sort: marketing or transactional
    int priority;
    Datum wording, subject, locale;  // wording: the template's key
    Datum payload;  // its part in it: content, tier, benefits
    Datum offer;
};

// For each message its letter; nullptr: there is no such step any more.
std::span<const Letter* const> letters_of(const pg::Array<scenario::Message>& messages);

}  // namespace lifecycle::outbox
