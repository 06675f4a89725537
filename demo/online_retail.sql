-- UCI Online Retail, a British wholesaler of gifts, December 2010 to December 2011. Its lines come from standard input.
-- An invoice that starts with C is a return; it does not say of what. Lines without a customer are left out.
SET timezone = 'UTC';

CREATE TABLE lines (
    invoice      text,
    stock_code   text,
    description  text,
    quantity     int,
    invoice_ts   timestamp,    -- local time in London
    unit_price   numeric,
    customer     text,         -- "17850.0"
    country      text
);
\copy lines FROM pstdin (FORMAT csv, HEADER)

CREATE TABLE invoices AS
SELECT invoice,
       split_part(min(customer), '.', 1)::bigint AS customer_id,
       sum(quantity * unit_price) AS amount,
       min(invoice_ts) AT TIME ZONE 'Europe/London' AS placed_at    -- a few span two minutes
  FROM lines
 WHERE customer IS NOT NULL
 GROUP BY invoice;

CREATE TABLE customers AS
SELECT customer_id AS id, 'customer' || customer_id || '@example.com' AS email, 'Europe/London' AS time_zone,
       min(placed_at) AS created_at
  FROM invoices GROUP BY customer_id;

CREATE TABLE orders AS
SELECT invoice AS id, customer_id, amount, 'GBP' AS currency, placed_at FROM invoices WHERE invoice NOT LIKE 'C%';

CREATE TABLE refunds AS
SELECT invoice AS id, customer_id, -amount AS amount, 'GBP' AS currency, placed_at AS refunded_at
  FROM invoices WHERE invoice LIKE 'C%';
