// What steps of one group have done to rows, all in all.
//
// Each change of a row is an edge from what it was to what it became. Where an edge ends with a row that another one begins with, they are one:
// what came and went among the steps was not there before them and is not there after them. Of several that fit, the statement that began last before
// is meant, as a row may become again what it has been; one that began later, if there is no other, as of what BEFORE triggers do.
#include "source/nesting.hpp"

#include <algorithm>

namespace lifecycle::source {

namespace {

struct Edge {
    NetChange change;
    uint64 began;   // its statement, see Step
    bool follows;   // what it begins with is what another one ends with
    bool followed;
    uint32 first;   // of the last edge of a path: where the path begins
    uint32 last;    // of the first edge: where it ends
    uint32 next;    // of the edges that end with rows of the same hash, the next one before; kNone: there is none
};

constexpr uint32 kNone = PG_UINT32_MAX;

struct Ending {
    uint64 hash;
    uint32 edge;  // the first of them
};

// Two slots to compare rows in.
struct Comparison {
    TupleDesc layout;
    const Bitmapset* columns;  // nullptr: all
    TupleTableSlot* a;
    TupleTableSlot* b;
};

template <class F>
bool for_all_columns(const Comparison& c, F&& holds) {
    for (int i = 0; i < c.layout->natts; ++i) {
        Form_pg_attribute attribute = TupleDescAttr(c.layout, i);
        if (attribute->attisdropped || (c.columns != nullptr && !bms_is_member(i + 1, c.columns))) continue;
        if (!holds(i + 1, attribute)) return false;
    }
    return true;
}

uint64 hash_of(const Comparison& c, MinimalTuple row) {
    ExecStoreMinimalTuple(row, c.a, false);
    uint64 hash = 0;
    for_all_columns(c, [&](int column, Form_pg_attribute attribute) {
        bool null;
        Datum value = slot_getattr(c.a, column, &null);
        hash = hash_combine64(hash, null ? 1 : datum_image_hash(value, attribute->attbyval, attribute->attlen));
        return true;
    });
    return hash;
}

bool same_row(const Comparison& c, MinimalTuple a, MinimalTuple b) {
    ExecStoreMinimalTuple(a, c.a, false);
    ExecStoreMinimalTuple(b, c.b, false);
    return for_all_columns(c, [&](int column, Form_pg_attribute attribute) {
        bool no_a, no_b;
        Datum in_a = slot_getattr(c.a, column, &no_a);
        Datum in_b = slot_getattr(c.b, column, &no_b);
        return no_a == no_b && (no_a || datum_image_eq(in_a, in_b, attribute->attbyval, attribute->attlen));
    });
}

HTAB* index_endings(const Comparison& c, std::span<Edge> edges) {
    HASHCTL control{};
    control.keysize = sizeof(uint64);
    control.entrysize = sizeof(Ending);
    control.hcxt = CurrentMemoryContext;
    HTAB* endings = hash_create("rows that have come", 1024, &control, HASH_ELEM | HASH_BLOBS | HASH_CONTEXT);
    for (size_t i = 0; i < edges.size(); ++i) {
        CHECK_FOR_INTERRUPTS();
        Edge& edge = edges[i];
        if (edge.followed || edge.change.row.arrived == nullptr || edge.change.layout != c.layout) continue;
        uint64 hash = hash_of(c, edge.change.row.arrived);
        bool found;
        auto* ending = static_cast<Ending*>(hash_search(endings, &hash, HASH_ENTER, &found));
        edge.next = found ? ending->edge : kNone;
        ending->edge = static_cast<uint32>(i);
    }
    return endings;
}

// Joins paths of rows that agree in the columns. A path is not joined to itself: that its row is what it was may still have to be said.
void join(const Comparison& c, std::span<Edge> edges, HTAB* endings, bool in_order) {
    for (uint32 i = 0; i < edges.size(); ++i) {
        CHECK_FOR_INTERRUPTS();
        Edge& edge = edges[i];
        if (edge.follows || edge.change.row.gone == nullptr || edge.change.layout != c.layout) continue;
        uint64 hash = hash_of(c, edge.change.row.gone);
        auto* ending = static_cast<Ending*>(hash_search(endings, &hash, HASH_FIND, nullptr));
        if (ending == nullptr) continue;
        for (uint32* at = &ending->edge; *at != kNone; at = &edges[*at].next) {
            Edge& before = edges[*at];
            if (before.first == i || (in_order && before.began >= edge.began) || !same_row(c, before.change.row.arrived, edge.change.row.gone)) continue;
            *at = before.next;
            before.followed = edge.follows = true;
            edges[before.first].last = edge.last;
            edges[edge.last].first = before.first;
            break;
        }
    }
}

void join(const Comparison& c, std::span<Edge> edges) {
    HTAB* endings = index_endings(c, edges);
    join(c, edges, endings, true);
    join(c, edges, endings, false);
    hash_destroy(endings);
}

// The row as the attached table would have it, with what it says in columns that were added after it was written.
MinimalTuple converted(const Layout& layout, MinimalTuple row) {
    if (row == nullptr) return nullptr;
    ExecStoreMinimalTuple(row, layout.raw, false);
    TupleTableSlot* slot = as_attached(layout);
    slot_getallattrs(slot);
    return heap_form_minimal_tuple(slot->tts_tupleDescriptor, slot->tts_values, slot->tts_isnull);
}

bool has_short_rows(const Layout& layout) {
    TupleConstr* constraints = layout.raw->tts_tupleDescriptor->constr;
    return constraints != nullptr && constraints->missing != nullptr;
}

pg::Array<Edge> edges_of(const Source* source, std::span<Step* const> steps) {
    pg::Array<const Step*> in_order;
    for (const Step* step : steps) in_order.push(step);
    std::sort(in_order.begin(), in_order.end(), [](const Step* a, const Step* b) { return a->began < b->began; });
    pg::Array<Edge> edges;
    for (const Step* step : in_order) {
        Layout layout{};
        if (source != nullptr) layout = make_layout(source, step->layout);
        bool convert = layout.common != nullptr || (source != nullptr && has_short_rows(layout));
        for (const RowChange& row : step->rows) {
            auto i = static_cast<uint32>(edges.size);
            NetChange change{row, step->layout};
            if (source != nullptr) change.layout = source->evaluator->slot->tts_tupleDescriptor;
            if (convert) change.row = {converted(layout, row.gone), converted(layout, row.arrived)};
            edges.push({change, step->began, false, false, i, i, kNone});
        }
        drop_layout(layout);
    }
    return edges;
}

void join_all(const Source* source, TupleDesc layout, std::span<Edge> edges) {
    Comparison c{layout, nullptr, MakeSingleTupleTableSlot(layout, &TTSOpsMinimalTuple), MakeSingleTupleTableSlot(layout, &TTSOpsMinimalTuple)};
    join(c, edges);
    // An update that changed nothing that is read may not have been seen.
    if (source != nullptr) {
        c.columns = source->columns;
        join(c, edges);
    }
    ExecDropSingleTupleTableSlot(c.a);
    ExecDropSingleTupleTableSlot(c.b);
}

}  // namespace

pg::Array<NetChange> net_changes(const Source* source, std::span<Step* const> steps) {
    pg::Array<Edge> edges = edges_of(source, steps);
    TupleDesc done = nullptr;
    for (const Edge& edge : edges) {  // without a source, a table's rows after the other's
        if (edge.change.layout == done) continue;
        done = edge.change.layout;
        join_all(source, done, edges.span());
    }
    pg::Array<NetChange> net;
    for (const Edge& edge : edges) {
        if (edge.follows) continue;
        NetChange change{{edge.change.row.gone, edges[edge.last].change.row.arrived}, edge.change.layout};
        if (change.row.gone != nullptr || change.row.arrived != nullptr) net.push(change);
    }
    return net;
}

}  // namespace lifecycle::source
