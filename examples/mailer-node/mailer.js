// A mailer in Node: takes messages out of the outbox and hands them to an SMTP server.
//
//   DATABASE_URL=postgres://... SMTP_URL=smtp://localhost:25 MAIL_FROM='Shop <news@example.org>' node mailer.js
//
// Also CHANNEL, CONSUMER, BATCH, LEASE (seconds), POLL (ms) and UNSUBSCRIBE (https://shop.example/unsubscribe?t=).
import { createHash } from 'node:crypto';
import nodemailer from 'nodemailer';
import pg from 'pg';

const env = process.env;
const channel = env.CHANNEL ?? 'email';
const consumer = env.CONSUMER ?? `node-${process.pid}`;
const batch = Number(env.BATCH ?? 20);
const lease = Number(env.LEASE ?? 60);
const poll = Number(env.POLL ?? 5000);
const from = env.MAIL_FROM;
const domain = from.replace(/^.*@|>\s*$/g, '');

const smtp = nodemailer.createTransport(env.SMTP_URL, { pool: true, maxConnections: 1 });
let stopping = false;
let wake = () => {};
let db = null;
const unsaid = []; // sent, but not acknowledged yet: the database was away

for (const signal of ['SIGTERM', 'SIGINT']) process.on(signal, () => { stopping = true; wake(); });

const sleep = ms => new Promise(resolve => {
  const timer = setTimeout(resolve, ms);
  wake = () => { clearTimeout(timer); resolve(); };
});

async function connect() {
  for (let wait = 100; !db && !stopping; wait = Math.min(2 * wait, 5000)) {
    const client = new pg.Client({ connectionString: env.DATABASE_URL });
    client.on('error', () => { if (db === client) db = null; wake(); });
    client.on('notification', () => wake());
    try {
      await client.connect();
      await client.query('LISTEN lifecycle_outbox');
      db = client;
    } catch (error) {
      console.error(`mailer: no connection: ${error.message}`);
      client.end().catch(() => {});
      await sleep(wait);
    }
  }
}

// Undefined: the database is away.
async function run(sql, values) {
  try {
    return (await db?.query(sql, values))?.rows;
  } catch (error) {
    console.error(`mailer: database: ${error.message}`);
    return undefined;
  }
}

const fail = (m, why, permanent) =>
  run('SELECT lifecycle.fail($1, $2, lease_token => $3, permanent => $4)', [m.message_id, why, m.lease_token, permanent]);

async function settle() {
  while (unsaid.length > 0) {
    const { m, reply } = unsaid[0];
    const rows = await run('SELECT lifecycle.ack(ARRAY[$1::bigint], $2, ARRAY[$3])', [m.message_id, m.lease_token, reply]);
    if (!rows) return;
    unsaid.shift();
  }
}

function compose(m) {
  const hash = createHash('sha256').update(m.idempotency_key).digest('hex');
  const greeting = [m.payload.first_name, m.payload.last_name].filter(Boolean).join(' ');
  const headers = { 'X-Lifecycle-Message': m.message_id, 'X-Lifecycle-Key': m.idempotency_key, 'Auto-Submitted': 'auto-generated' };
  if (m.class === 'marketing' && m.payload.unsubscribe_token && env.UNSUBSCRIBE) { // RFC 8058
    headers['List-Unsubscribe'] = `<${env.UNSUBSCRIBE}${m.payload.unsubscribe_token}>`;
    headers['List-Unsubscribe-Post'] = 'List-Unsubscribe=One-Click';
  }
  return {
    from, to: m.recipient, subject: m.subject ?? m.template, headers,
    // The same whenever and by whomever the message is sent.
    messageId: `<${hash.slice(0, 40)}@${domain}>`,
    text: (greeting && `${greeting},\n\n`) + (m.payload.content?.body ?? ''),
  };
}

async function send(m) {
  if (m.recipient === null) return fail(m, 'no address is known', true);
  // The last word: the cart may have been bought, or the lease may have run out, since the claim.
  const rows = await run('SELECT lifecycle.may_send($1, $2) AS yes', [m.message_id, m.lease_token]);
  if (!rows?.[0].yes) return fail(m, 'may_send() said no', false);
  try {
    const info = await smtp.sendMail(compose(m));
    unsaid.push({ m, reply: info.response });
    await settle();
  } catch (error) {
    if (error.responseCode >= 500) {
      await fail(m, error.response, true);
      if (error.command === 'RCPT TO') await run("SELECT lifecycle.feedback('bounce', $1)", [m.message_id]);
    } else if (error.responseCode || ['ECONNECTION', 'EDNS', 'EAUTH'].includes(error.code) || m.delivery === 'at_least_once') {
      await fail(m, error.message, false);
    } // else it may be on its way: its lease will run out and it will be unknown
  }
}

async function sendAll(messages) {
  let renewed = Date.now();
  while (messages.length > 0) {
    const left = [messages.map(m => m.message_id), messages[0].lease_token];
    if (stopping) return run('SELECT lifecycle.release($1, $2)', left);
    if (Date.now() - renewed > lease * 500) {
      await run('SELECT lifecycle.extend($1, $2, make_interval(secs => $3))', [...left, lease]);
      renewed = Date.now();
    }
    await send(messages.shift());
    if (!db || unsaid.length > 0) return; // the leases of the others will run out
  }
}

while (!stopping) {
  await connect();
  if (!db) break;
  await settle();
  const messages = await run(
    'SELECT * FROM lifecycle.claim($1, $2, $3, make_interval(secs => $4)) ORDER BY priority DESC, due_at', [batch, channel, consumer, lease]);
  if (messages?.length > 0) await sendAll(messages);
  else if (!stopping) await sleep(messages ? poll : 1000);
}
await settle();
await db?.end().catch(() => {});
smtp.close();
