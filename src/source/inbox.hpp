// The inbox: changes of asynchronous sources wait in a table until the worker takes them in.
#pragma once

#include "source/changes.hpp"

namespace lifecycle::source {

// `held`: what has gone may have been in quarantine until now.
void write_letters(std::string_view source, std::span<const Letter> letters, bool held);
// Everything that the source has said so far no longer holds: its table has been emptied.
void write_emptied(std::string_view source);
bool has_letters(std::string_view source);
// All that the snapshot sees; nullptr: of the present.
void forget_letters(std::string_view source, Snapshot snapshot = nullptr);
// Takes in what a source that is being backfilled has said meanwhile and the snapshot sees, at most `limit` changes; of facts with a later
// key than `up_to` nothing, if it is not null. Returns how many.
int take_in_letters(std::string_view source, int limit, const std::string_view* up_to, Snapshot snapshot);

// Takes in the next changes, at most `limit`, in the order in which they came. Returns how many; kLeftForLater if somebody else is
// at it, or holds customers that are needed.
inline constexpr int64 kLeftForLater = -1;
int64 fold_inbox(int limit);

}  // namespace lifecycle::source
