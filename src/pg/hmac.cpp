// HMAC-SHA-256, for tokens that nobody else can make and hashes that nobody else can try out.
#include "pg/postgres.hpp"

using namespace lifecycle;

LIFECYCLE_FUNCTION(lifecycle_hmac) {
    bytea* key = PG_GETARG_BYTEA_PP(0);
    bytea* message = PG_GETARG_BYTEA_PP(1);
    auto* digest = static_cast<bytea*>(palloc(VARHDRSZ + PG_SHA256_DIGEST_LENGTH));
    SET_VARSIZE(digest, VARHDRSZ + PG_SHA256_DIGEST_LENGTH);

    pg_hmac_ctx* context = pg_hmac_create(PG_SHA256);
    bool failed = context == nullptr || pg_hmac_init(context, reinterpret_cast<uint8*>(VARDATA_ANY(key)), VARSIZE_ANY_EXHDR(key)) < 0 ||
                  pg_hmac_update(context, reinterpret_cast<uint8*>(VARDATA_ANY(message)), VARSIZE_ANY_EXHDR(message)) < 0 ||
                  pg_hmac_final(context, reinterpret_cast<uint8*>(VARDATA(digest)), PG_SHA256_DIGEST_LENGTH) < 0;
    pg_hmac_free(context);
    if (failed) ereport(ERROR, errcode(ERRCODE_INTERNAL_ERROR), errmsg("could not compute a signature"));
    PG_RETURN_BYTEA_P(digest);
}
