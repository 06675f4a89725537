// The rows that an UPDATE has changed, gathered by a row trigger with a list of columns.
//
// Transition tables are built for each UPDATE of a table whose triggers ask for them, whatever it changes. A row trigger with a list of
// columns is asked for nothing where none of them is set, which is most updates of a shop. Where one is, it gathers what a transition table would hold, and
// the statement trigger finds it there.
#pragma once

#include "source/source.hpp"

namespace lifecycle::source {

// Keeps the old and the new row for the statement trigger.
void gather(TriggerData* trigger);

// Gives the statement trigger what has been gathered for it, as its transition tables; false: nothing.
bool take_gathered(TriggerData* trigger);
void drop_gathered(TriggerData* trigger);

// What no statement trigger has asked for (it is disabled) is forgotten when the subtransaction or the transaction ends.
void forget_gathered(bool rolled_back, SubTransactionId own);
void forget_gathered();

}  // namespace lifecycle::source
