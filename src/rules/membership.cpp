#include "rules/membership.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

void keep_first_of_dimension(std::span<const std::uint8_t> dimension, Held held) {
    for (std::size_t i = 0; i < held.size(); ++i) {
        if (!held[i] || dimension[i] == 0) continue;
        for (std::size_t k = i + 1; k < held.size(); ++k) {
            if (dimension[k] == dimension[i]) held[k] = 0;
        }
    }
}

}  // namespace lifecycle::rules
