\x on
SELECT * FROM lifecycle.status;
\x off
