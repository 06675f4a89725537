// Fault injection: tests raise an error, a cancel or an exhausted memory in the middle of a path, or wait there (setting lifecycle.fault).
#pragma once

#include "pg/postgres.hpp"

namespace lifecycle::pg {

extern const char* armed_fault;

void arm_fault(const char* setting);
void raise_fault(const char* point);

inline void fault_point(const char* point) {
    if (unlikely(armed_fault != nullptr)) raise_fault(point);
}

}  // namespace lifecycle::pg
