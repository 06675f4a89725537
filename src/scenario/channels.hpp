#pragma once

#include <string_view>

#include "pg/array.hpp"
#include "rules/send_window.hpp"

namespace lifecycle::scenario {

struct Channel {
    std::string_view name;   // empty: there is no such channel any more
    rules::SendWindow open;  // outside the quiet hours
    bool has_quiet_hours;
};

// All there are, by name, in the current memory context.
pg::Array<Channel> read_channels();

}  // namespace lifecycle::scenario
