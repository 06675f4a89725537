#!/bin/bash
# UCI Online Retail: two years of a gift shop, with returns. Invoices are orders, cancellations are refunds, guests do not count.
. "$(dirname "$0")/replay.bash"

need_data online_retail/online_retail.csv.xz
new_database lifecycle_online_retail
run -f - <<'SQL'
CREATE UNLOGGED TABLE rd.online_retail (
    invoice text, stock_code text, description text, quantity int, invoice_ts timestamp, unit_price numeric, customer text, country text);
SQL
xz -dc "$data/online_retail/online_retail.csv.xz" | run -c "COPY rd.online_retail FROM stdin (FORMAT csv, HEADER)"
run -f - <<'SQL'
INSERT INTO shop.orders
    SELECT invoice, min(customer), sum(quantity * unit_price), min(invoice_ts) AT TIME ZONE 'Europe/London'
      FROM rd.online_retail WHERE invoice NOT LIKE 'C%' AND customer IS NOT NULL GROUP BY invoice;
INSERT INTO shop.refunds
    SELECT invoice, min(customer), -sum(quantity * unit_price), min(invoice_ts) AT TIME ZONE 'Europe/London'
      FROM rd.online_retail WHERE invoice LIKE 'C%' AND customer IS NOT NULL GROUP BY invoice;
SQL
is "orders and buyers" "18536|4339" 'SELECT count(*), count(DISTINCT customer) FROM shop.orders'

replay '2011-01-01' 24
is "buyers" 4339 'SELECT count(*) FROM lifecycle.customer WHERE order_count > 0'
is "customers" 4372 'SELECT count(*) FROM lifecycle.customer'
finish
