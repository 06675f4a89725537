#include "pg/sequence.hpp"

namespace lifecycle::pg {

namespace {

// As the server does: so many numbers more are logged as taken, so that the next ones need no record. After a crash they are left out.
constexpr int64 kLoggedAhead = 32;

// Up to which number the sequence simply counts on by one; 0: it does not.
int64 counts_up_to(Oid sequence) {
    HeapTuple tuple = SearchSysCache1(SEQRELID, ObjectIdGetDatum(sequence));
    if (!HeapTupleIsValid(tuple)) elog(ERROR, "cache lookup failed for sequence %u", sequence);
    auto* form = reinterpret_cast<Form_pg_sequence>(GETSTRUCT(tuple));
    int64 last = form->seqincrement == 1 && form->seqcache == 1 && !form->seqcycle ? form->seqmax : 0;
    ReleaseSysCache(tuple);
    return last;
}

struct Taken {
    int64 last;   // number that is taken
    int64 ahead;  // so many more are logged
    bool logged;  // by a record of this call
};

// The row of the sequence as the log has it, which a crash brings back, and then as it is.
void write(Relation relation, Buffer buffer, HeapTupleHeader row, uint32 length, const Taken& taken) {
    auto* state = reinterpret_cast<Form_pg_sequence_data>(reinterpret_cast<char*>(row) + row->t_hoff);
    if (taken.logged) GetTopTransactionId();  // so that the commit waits for the record
    START_CRIT_SECTION();
    MarkBufferDirty(buffer);
    if (taken.logged) {
        state->last_value = taken.last + taken.ahead;
        state->is_called = true;
        state->log_cnt = 0;
        xl_seq_rec record = sequence_record(relation);
        XLogBeginInsert();
        XLogRegisterBuffer(0, buffer, REGBUF_WILL_INIT);
        XLogRegisterData(reinterpret_cast<char*>(&record), sizeof record);
        XLogRegisterData(reinterpret_cast<char*>(row), length);
        XLogRecPtr end = XLogInsert(RM_SEQ_ID, XLOG_SEQ_LOG);
        PageSetLSN(BufferGetPage(buffer), end);
    }
    state->last_value = taken.last;
    state->is_called = true;
    state->log_cnt = taken.ahead;
    END_CRIT_SECTION();
}

// False: there are not so many.
bool take(Relation relation, Buffer buffer, int64 most, int64 count, int64* first) {
    Page page = BufferGetPage(buffer);
    ItemId id = PageGetItemId(page, FirstOffsetNumber);
    auto* row = reinterpret_cast<HeapTupleHeader>(PageGetItem(page, id));
    auto* state = reinterpret_cast<Form_pg_sequence_data>(reinterpret_cast<char*>(row) + row->t_hoff);
    if (state->last_value < 0 || most - count <= state->last_value) return false;
    *first = state->is_called ? state->last_value + 1 : state->last_value;
    // After a checkpoint the log has to say it anew: recovery begins there.
    bool logged = state->log_cnt < count || !state->is_called || PageGetLSN(page) <= GetRedoRecPtr();
    Taken taken{.last = *first + count - 1, .ahead = state->log_cnt - count, .logged = logged};
    if (logged) taken.ahead = Min(kLoggedAhead, most - taken.last);
    write(relation, buffer, row, ItemIdGetLength(id), taken);
    return true;
}

}  // namespace

int64 take_numbers(Oid sequence, int64 count) {
    int64 most = counts_up_to(sequence);
    if (most == 0 || count <= 1) return -1;
    Relation relation = relation_open(sequence, RowExclusiveLock);
    int64 first = -1;
    if (relation->rd_rel->relkind == RELKIND_SEQUENCE && RelationNeedsWAL(relation)) {
        Buffer buffer = ReadBuffer(relation, 0);
        LockBuffer(buffer, BUFFER_LOCK_EXCLUSIVE);
        if (!take(relation, buffer, most, count, &first)) first = -1;
        UnlockReleaseBuffer(buffer);
    }
    relation_close(relation, NoLock);
    return first;
}

}  // namespace lifecycle::pg
