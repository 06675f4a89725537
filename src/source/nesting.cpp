#include "source/nesting.hpp"

#include <cstring>

namespace lifecycle::source {

namespace {

// One that has begun and is not over. Those of a source that are open at the same time are one group.
struct Statement {
    const char* source;
    Oid relation;
    TriggerEvent operation;
    SubTransactionId subtransaction;
    uint64 group;
    uint64 began;
};

struct Group {
    const char* source;
    uint64 number;
    size_t waiting;
};

// In the transaction's memory.
pg::Array<Statement> statements{};
pg::Array<Group> groups{};
uint64 last_group = 0;
uint64 last_begun = 0;

Group* find_group(const char* source) {
    for (Group& group : groups) {
        if (strcmp(group.source, source) == 0) return &group;
    }
    return nullptr;
}

Group* find_group(uint64 number) {
    for (Group& group : groups) {
        if (group.number == number) return &group;
    }
    return nullptr;
}

bool has_statements(uint64 group) {
    for (const Statement& statement : statements) {
        if (statement.group == group) return true;
    }
    return false;
}

void drop_empty_groups() {
    size_t kept = 0;
    for (const Group& group : groups) {
        if (has_statements(group.number)) groups[kept++] = group;
    }
    groups.size = kept;
}

}  // namespace

void begin_statement(const TriggerData* trigger) {
    follow_transaction();
    MemoryContext caller = MemoryContextSwitchTo(TopTransactionContext);
    Group* group = find_group(trigger->tg_trigger->tgargs[0]);
    if (group == nullptr) group = &groups.push({pstrdup(trigger->tg_trigger->tgargs[0]), ++last_group, 0});
    statements.push({group->source, RelationGetRelid(trigger->tg_relation), trigger->tg_event & TRIGGER_EVENT_OPMASK, GetCurrentSubTransactionId(),
                     group->number, ++last_begun});
    MemoryContextSwitchTo(caller);
}

Nest end_statement(const TriggerData* trigger) {
    if (statements.empty()) return {};
    Group* group = find_group(trigger->tg_trigger->tgargs[0]);
    if (group == nullptr) return {};
    Nest nest{group->number, 0, true, group->waiting};
    for (size_t i = statements.size; i > 0; --i) {  // the innermost come last
        const Statement& s = statements[i - 1];
        if (s.group != nest.group || s.relation != RelationGetRelid(trigger->tg_relation) ||
            s.operation != (trigger->tg_event & TRIGGER_EVENT_OPMASK) || s.subtransaction != GetCurrentSubTransactionId())
            continue;
        nest.began = s.began;
        for (size_t later = i; later < statements.size; ++later) statements[later - 1] = statements[later];
        --statements.size;
        break;
    }
    nest.inner = has_statements(nest.group);
    if (!nest.inner) drop_empty_groups();
    return nest;
}

bool is_any_statement_open() { return !statements.empty(); }

bool goes_on(uint64 group) { return group != 0 && find_group(group) != nullptr; }

size_t waiting_steps() {
    size_t waiting = 0;
    for (const Group& group : groups) waiting += group.waiting;
    return waiting;
}

void note_waiting(uint64 group) {
    if (Group* g = group == 0 ? nullptr : find_group(group); g != nullptr) ++g->waiting;
}

void forget_waiting() {
    for (Group& group : groups) group.waiting = 0;
}

// A statement is over by then, unless it has failed.
void forget_statements(SubTransactionId own) {
    if (statements.empty()) return;
    size_t kept = 0;
    for (const Statement& statement : statements) {
        if (statement.subtransaction != own) statements[kept++] = statement;
    }
    statements.size = kept;
    drop_empty_groups();
}

void forget_statements() {
    statements = {};
    groups = {};
}

}  // namespace lifecycle::source

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_begin_statement) {
    TriggerData* trigger = source::trigger_data(fcinfo, "lifecycle.begin_statement()");
    bool begins = TRIGGER_FIRED_FOR_STATEMENT(trigger->tg_event) && TRIGGER_FIRED_BEFORE(trigger->tg_event) && trigger->tg_trigger->tgnargs == 1;
    if (begins) source::begin_statement(trigger);
    PG_RETURN_POINTER(nullptr);
}
