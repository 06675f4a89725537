#include "pg/form.hpp"

#include <cstring>

namespace lifecycle::pg {

namespace {

// No less than the columns need, with what aligns them. False: there is one that is better left to the server.
bool bound_size(TupleDesc layout, const Datum* values, const bool* nulls, Size* size, bool* any_null) {
    *size = 0;
    *any_null = false;
    for (int i = 0; i < layout->natts; ++i) {
        if (nulls[i]) {
            *any_null = true;
            continue;
        }
        Form_pg_attribute column = TupleDescAttr(layout, i);
        if (column->attbyval) {
            *size += 2 * sizeof(Datum);
        } else if (column->attlen > 0) {
            *size += static_cast<Size>(column->attlen) + sizeof(Datum);
        } else {
            Pointer value = DatumGetPointer(values[i]);
            if (column->attlen != -1 || VARATT_IS_EXTERNAL(value)) return false;
            *size += VARSIZE_ANY(value) + sizeof(Datum);
        }
    }
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

char* put_by_value(char* at, Datum value, int length) {
    switch (length) {
        case sizeof(char): *at = static_cast<char>(value); break;
        case sizeof(int16): { auto v = static_cast<int16>(value); memcpy(at, &v, sizeof v); break; }
        case sizeof(int32): { auto v = static_cast<int32>(value); memcpy(at, &v, sizeof v); break; }
        default: memcpy(at, &value, sizeof value);
    }
    return at + length;
}

// As a column holds it: a short one with a header of one byte.
char* put_varlena(char* at, const char* start, Form_pg_attribute column, Pointer value) {
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
    memcpy(at, value, VARSIZE(value));
    return at + VARSIZE(value);
}

// Returns its end.
char* fill(TupleDesc layout, const Datum* values, const bool* nulls, char* start, HeapTupleHeader header) {
    char* at = start;
    for (int i = 0; i < layout->natts; ++i) {
        if (nulls[i]) continue;
        if ((header->t_infomask & HEAP_HASNULL) != 0) header->t_bits[i >> 3] |= static_cast<bits8>(1 << (i & 7));
        Form_pg_attribute column = TupleDescAttr(layout, i);
        if (is_eight_bytes(column)) {
            at = aligned(at, start, TYPALIGN_DOUBLE);
            memcpy(at, &values[i], sizeof(Datum));
            at += sizeof(Datum);
        } else if (column->attlen == -1) {
            header->t_infomask |= HEAP_HASVARWIDTH;
            at = put_varlena(at, start, column, DatumGetPointer(values[i]));
        } else {
            at = aligned(at, start, column->attalign);
            if (column->attbyval) {
                at = put_by_value(at, values[i], column->attlen);
            } else {
                memcpy(at, DatumGetPointer(values[i]), static_cast<Size>(column->attlen));
                at += column->attlen;
            }
        }
    }
    return at;
}

}  // namespace

HeapTuple form_row(TupleDesc layout, const Datum* values, const bool* nulls) {
    Size bound;
    bool any_null;
    if (!bound_size(layout, values, nulls, &bound, &any_null))
        return heap_form_tuple(layout, const_cast<Datum*>(values), const_cast<bool*>(nulls));
    Size head = MAXALIGN(SizeofHeapTupleHeader + (any_null ? BITMAPLEN(layout->natts) : 0));
    auto* row = static_cast<HeapTuple>(palloc(HEAPTUPLESIZE + head + bound));
    auto* header = reinterpret_cast<HeapTupleHeader>(reinterpret_cast<char*>(row) + HEAPTUPLESIZE);
    memset(static_cast<void*>(header), 0, head);
    row->t_data = header;
    row->t_tableOid = InvalidOid;
    ItemPointerSetInvalid(&row->t_self);
    ItemPointerSetInvalid(&header->t_ctid);
    HeapTupleHeaderSetNatts(header, layout->natts);
    header->t_hoff = static_cast<uint8>(head);
    if (any_null) header->t_infomask |= HEAP_HASNULL;
    char* start = reinterpret_cast<char*>(header) + head;
    row->t_len = static_cast<uint32>(head) + static_cast<uint32>(fill(layout, values, nulls, start, header) - start);
    HeapTupleHeaderSetDatumLength(header, row->t_len);
    HeapTupleHeaderSetTypeId(header, layout->tdtypeid);
    HeapTupleHeaderSetTypMod(header, layout->tdtypmod);
    return row;
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
        offset = att_align_pointer(offset, column->attalign, column->attlen, data + offset);
        values[i] = fetchatt(column, data + offset);
        offset = att_addlength_pointer(offset, column->attlen, data + offset);
    }
}

}  // namespace lifecycle::pg
