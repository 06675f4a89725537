// What a mailer needs to render a message without asking back, as it is when the message is claimed.
#pragma once

#include "pg/text.hpp"

namespace lifecycle::outbox {

// A message whose payload is brought up to date. One of no scenario keeps the payload that whoever inserted it has given it.
struct Rendered {
    Datum payload, customer, scenario, anchor, channel;
};

void complete(std::span<Rendered> messages);

// A text in a payload, by its keys; 0: there is none.
Datum told(Datum payload, const char* key, const char* inner = nullptr);

}  // namespace lifecycle::outbox
