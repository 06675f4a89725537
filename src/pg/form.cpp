#include "pg/form.hpp"

#include <cstddef>
#include <cstring>

namespace lifecycle::pg {

namespace {

// No less than the columns need, with what aligns them. False: there is one that is better left to the server.
bool bound_size(TupleDesc layout, const Datum* values, const bool* nulls, Size* size, bool* any_null) {
    Size bound = 2 * sizeof(Datum) * static_cast<Size>(layout->natts);
    bool any = false;
    for (int i = 0; i < layout->natts; ++i) {
        if (nulls[i]) {
            any = true;
            continue;
        }
        int length = TupleDescAttr(layout, i)->attlen;
        if (length == -1) {
            Pointer value = DatumGetPointer(values[i]);
            if (VARATT_IS_EXTERNAL(value)) return false;
            bound += VARSIZE_ANY(value);
        } else if (length > static_cast<int>(sizeof(Datum))) {
            bound += static_cast<Size>(length);
        } else if (length < 0) {
            return false;
        }
    }
    *size = bound;
    *any_null = any;
    return true;
}

char* aligned(char* at, const char* start, char alignment) {
    auto offset = static_cast<Size>(at - start);
    Size wanted = att_align_nominal(offset, alignment);
    Datum zero = 0;
    memcpy(at, &zero, sizeof zero);  // there is room for more than what is skipped
    return at + (wanted - offset);
}

bool is_eight_bytes(Form_pg_attribute column) {
    return column->attlen == sizeof(Datum) && column->attbyval && column->attalign == TYPALIGN_DOUBLE;
}

// Types that are passed by value are aligned to their length.
template <class T>
char* put_number(char* at, const char* start, Datum value) {
    while ((static_cast<Size>(at - start) & (sizeof(T) - 1)) != 0) *at++ = 0;
    auto number = static_cast<T>(value);
    memcpy(at, &number, sizeof number);
    return at + sizeof number;
}

char* put_by_value(char* at, const char* start, Datum value, int length) {
    switch (length) {
        case sizeof(int64): return put_number<int64>(at, start, value);
        case sizeof(int32): return put_number<int32>(at, start, value);
        case sizeof(int16): return put_number<int16>(at, start, value);
        default: return put_number<char>(at, start, value);
    }
}

// As a column holds it: a short one with a header of one byte. `placed`: where it lies.
char* put_varlena(char* at, const char* start, Form_pg_attribute column, Pointer value, Datum* placed) {
    *placed = PointerGetDatum(at);
    if (VARATT_IS_SHORT(value)) {
        memcpy(at, value, VARSIZE_SHORT(value));
        return at + VARSIZE_SHORT(value);
    }
    if (column->attstorage != TYPSTORAGE_PLAIN && VARATT_CAN_MAKE_SHORT(value)) {
        Size size = VARATT_CONVERTED_SHORT_SIZE(value);
        SET_VARSIZE_SHORT(at, size);
        memcpy(at + 1, VARDATA(value), size - 1);
        return at + size;
    }
    at = aligned(at, start, column->attalign);
    *placed = PointerGetDatum(at);
    memcpy(at, value, VARSIZE(value));
    return at + VARSIZE(value);
}

struct Filled {
    char* end;  // nullptr: there is no room, or a column that is better left to the server
    uint16 infomask;
};

constexpr std::ptrdiff_t kAlignment = 2 * sizeof(Datum);  // no more than this is written before, between and behind values

// `bits`: of the columns that are not NULL; nullptr: all are. `placed`: the values as they are then; those of columns that are NULL stay.
Filled fill(TupleDesc layout, const Datum* values, const bool* nulls, char* start, const char* limit, bits8* bits, Datum* placed) {
    char* at = start;
    uint16 infomask = 0;
    for (int i = 0; i < layout->natts; ++i) {
        if (nulls[i]) continue;
        if (bits != nullptr) bits[i >> 3] |= static_cast<bits8>(1 << (i & 7));
        Form_pg_attribute column = TupleDescAttr(layout, i);
        if (column->attlen == -1) {
            infomask |= HEAP_HASVARWIDTH;
            Pointer value = DatumGetPointer(values[i]);
            if (VARATT_IS_EXTERNAL(value) || static_cast<std::ptrdiff_t>(VARSIZE_ANY(value)) + kAlignment > limit - at) return {nullptr, 0};
            at = put_varlena(at, start, column, value, &placed[i]);
        } else if (column->attlen < 0 || column->attlen + kAlignment > limit - at) {
            return {nullptr, 0};
        } else if (column->attbyval) {
            placed[i] = values[i];
            at = put_by_value(at, start, values[i], column->attlen);
        } else {
            at = aligned(at, start, column->attalign);
            placed[i] = PointerGetDatum(at);
            memcpy(at, DatumGetPointer(values[i]), static_cast<Size>(column->attlen));
            at += column->attlen;
        }
    }
    return {at, infomask};
}

// From here on the server might compress a column of an index entry.
constexpr Size kEntryAsItIs = BLCKSZ / 16;

Size head_size(TupleDesc layout, bool any_null) { return MAXALIGN(SizeofHeapTupleHeader + (any_null ? BITMAPLEN(layout->natts) : 0)); }

// False: the server has to. The row is in `header`, for which there are `room` bytes.
bool form_at(HeapTuple row, HeapTupleHeader header, Size room, TupleDesc layout, const Datum* values, const bool* nulls, bool any_null, Datum* placed) {
    Size head = head_size(layout, any_null);
    memset(static_cast<void*>(header), 0, head);
    row->t_data = header;
    row->t_tableOid = InvalidOid;
    ItemPointerSetInvalid(&row->t_self);
    ItemPointerSetInvalid(&header->t_ctid);
    HeapTupleHeaderSetNatts(header, layout->natts);
    header->t_hoff = static_cast<uint8>(head);
    char* start = reinterpret_cast<char*>(header) + head;
    Filled filled = fill(layout, values, nulls, start, start + room - head, any_null ? header->t_bits : nullptr, placed);
    if (filled.end == nullptr) return false;
    header->t_infomask |= static_cast<uint16>(filled.infomask | (any_null ? HEAP_HASNULL : 0));
    row->t_len = static_cast<uint32>(head) + static_cast<uint32>(filled.end - start);
    HeapTupleHeaderSetDatumLength(header, row->t_len);
    HeapTupleHeaderSetTypeId(header, layout->tdtypeid);
    HeapTupleHeaderSetTypMod(header, layout->tdtypmod);
    return true;
}

// nullptr: the server has to.
HeapTuple form(TupleDesc layout, const Datum* values, const bool* nulls, Datum* placed) {
    Size bound;
    bool any_null;
    if (!bound_size(layout, values, nulls, &bound, &any_null)) return nullptr;
    Size room = head_size(layout, any_null) + bound + static_cast<Size>(kAlignment);
    auto* row = static_cast<HeapTuple>(palloc(HEAPTUPLESIZE + room));
    auto* header = reinterpret_cast<HeapTupleHeader>(reinterpret_cast<char*>(row) + HEAPTUPLESIZE);
    return form_at(row, header, room, layout, values, nulls, any_null, placed) ? row : nullptr;
}

HeapTuple form_by_server(TupleDesc layout, const Datum* values, const bool* nulls) {
    return heap_form_tuple(layout, const_cast<Datum*>(values), const_cast<bool*>(nulls));
}

}  // namespace

HeapTuple form_here(RowMemory* memory, TupleDesc layout, const Datum* values, const bool* nulls) {
    Datum placed[MaxHeapAttributeNumber];
    bool any_null = memchr(nulls, 1, static_cast<size_t>(layout->natts)) != nullptr;
    auto* header = reinterpret_cast<HeapTupleHeader>(memory->bytes);
    return form_at(&memory->row, header, sizeof memory->bytes, layout, values, nulls, any_null, placed) ? &memory->row : form_by_server(layout, values, nulls);
}

HeapTuple form_row(TupleDesc layout, const Datum* values, const bool* nulls) {
    Datum placed[MaxHeapAttributeNumber];
    HeapTuple row = form(layout, values, nulls, placed);
    return row != nullptr ? row : form_by_server(layout, values, nulls);
}

void form_into(TupleTableSlot* slot, const Datum* values, const bool* nulls) {
    TupleDesc layout = slot->tts_tupleDescriptor;
    ExecClearTuple(slot);
    HeapTuple row = form(layout, values, nulls, slot->tts_values);
    ExecStoreHeapTuple(row != nullptr ? row : form_by_server(layout, values, nulls), slot, true);
    if (row == nullptr) return;
    memcpy(slot->tts_isnull, nulls, static_cast<size_t>(layout->natts));
    slot->tts_nvalid = static_cast<AttrNumber>(layout->natts);
}

IndexTuple form_entry(TupleDesc layout, const Datum* values, const bool* nulls) {
    Size bound;
    bool any_null;
    if (!bound_size(layout, values, nulls, &bound, &any_null) || any_null || bound > kEntryAsItIs)
        return index_form_tuple(layout, const_cast<Datum*>(values), const_cast<bool*>(nulls));
    constexpr Size kHead = MAXALIGN(sizeof(IndexTupleData));
    auto* entry = static_cast<IndexTuple>(palloc(kHead + bound + static_cast<Size>(kAlignment) + MAXIMUM_ALIGNOF));
    memset(static_cast<void*>(entry), 0, kHead);
    char* start = reinterpret_cast<char*>(entry) + kHead;
    Datum placed[INDEX_MAX_KEYS];
    Filled filled = fill(layout, values, nulls, start, start + bound + kAlignment, nullptr, placed);
    char* end = aligned(filled.end, start, TYPALIGN_DOUBLE);
    entry->t_info = static_cast<uint16>(end - reinterpret_cast<char*>(entry));
    if ((filled.infomask & HEAP_HASVARWIDTH) != 0) entry->t_info |= INDEX_VAR_MASK;
    return entry;
}

void deform_row(HeapTuple row, TupleDesc layout, Datum* values, bool* nulls) {
    HeapTupleHeader header = row->t_data;
    if (HeapTupleHeaderGetNatts(header) != layout->natts) {  // some have been added since
        heap_deform_tuple(row, layout, values, nulls);
        return;
    }
    const bits8* present = (header->t_infomask & HEAP_HASNULL) != 0 ? header->t_bits : nullptr;
    const char* data = reinterpret_cast<const char*>(header) + header->t_hoff;
    Size offset = 0;
    for (int i = 0; i < layout->natts; ++i) {
        nulls[i] = present != nullptr && (present[i >> 3] & (1 << (i & 7))) == 0;
        if (nulls[i]) {
            values[i] = 0;
            continue;
        }
        Form_pg_attribute column = TupleDescAttr(layout, i);
        if (is_eight_bytes(column)) {
            offset = TYPEALIGN(ALIGNOF_DOUBLE, offset);
            memcpy(&values[i], data + offset, sizeof(Datum));
            offset += sizeof(Datum);
            continue;
        }
        if (column->attlen == -1) {
            if (!VARATT_NOT_PAD_BYTE(data + offset)) offset = att_align_nominal(offset, column->attalign);
            values[i] = PointerGetDatum(data + offset);
            offset += VARSIZE_ANY(data + offset);
            continue;
        }
        offset = att_align_pointer(offset, column->attalign, column->attlen, data + offset);
        values[i] = fetchatt(column, data + offset);
        offset = att_addlength_pointer(offset, column->attlen, data + offset);
    }
}

}  // namespace lifecycle::pg
