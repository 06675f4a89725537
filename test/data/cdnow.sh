#!/bin/bash
# CDNOW: everything that the customers of early 1997 bought there in eighteen months. Many have several orders on one day, some of
# nothing; there are no times of day, so ties abound.
. "$(dirname "$0")/replay.bash"

need_data cdnow/CDNOW_master.txt.gz
new_database lifecycle_cdnow
run -c "CREATE UNLOGGED TABLE rd.cdnow (line bigint GENERATED ALWAYS AS IDENTITY, customer text, day date, cds int, amount numeric)"
gzip -dc "$data/cdnow/CDNOW_master.txt.gz" | tail -n +2 | tr -d '\r' | sed -E 's/^ +//; s/ +/,/g' |
    run -c "COPY rd.cdnow (customer, day, cds, amount) FROM stdin (FORMAT csv)"
run -c "INSERT INTO shop.orders SELECT line::text, customer, amount, day::timestamp AT TIME ZONE 'UTC' FROM rd.cdnow"
is "orders and buyers" "69659|23570" 'SELECT count(*), count(DISTINCT customer) FROM shop.orders'

replay '1997-02-01' 24
is "customers" 23570 'SELECT count(*) FROM lifecycle.customer WHERE order_count > 0'
finish
