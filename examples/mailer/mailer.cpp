// A mailer: takes messages out of the outbox and hands them to an SMTP server. libpq and libcurl, one file.
//
//   lifecycle-mailer --db CONNINFO --smtp smtp://localhost:25 --from 'Shop <news@example.org>' [options]
//
// Several may run at once, anywhere. Each message goes out on a lease: what a mailer that dies had in its hands goes to another one when the
// lease has run out, under the same key and with the same Message-ID; or not at all, if the shop prefers that (at_most_once).
#include <curl/curl.h>
#include <libpq-fe.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <vector>

using Clock = std::chrono::steady_clock;

struct Options {
    std::string db, smtp, from, channel = "email", consumer, cacert, unsubscribe;
    int batch = 20;
    int lease = 60;   // seconds
    int poll = 5000;  // ms, should a notification get lost
    bool starttls = false;
    bool once = false;
};

static volatile std::sig_atomic_t stopping = 0;
static void stop(int) { stopping = 1; }

static void say(const char* what, const std::string& detail) { std::fprintf(stderr, "mailer: %s: %s\n", what, detail.c_str()); }

// What goes into a header stays on its line.
static std::string one_line(std::string text) {
    std::erase_if(text, [](unsigned char c) { return c < 0x20 || c == 0x7F; });
    return text;
}

static std::string base64(const std::string& in, size_t width) {
    static const char* digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    std::string out;
    size_t column = 0;
    for (size_t i = 0; i < in.size(); i += 3) {
        unsigned v = static_cast<unsigned char>(in[i]) << 16;
        if (i + 1 < in.size()) v |= static_cast<unsigned char>(in[i + 1]) << 8;
        if (i + 2 < in.size()) v |= static_cast<unsigned char>(in[i + 2]);
        out += digits[v >> 18];
        out += digits[v >> 12 & 63];
        out += i + 1 < in.size() ? digits[v >> 6 & 63] : '=';
        out += i + 2 < in.size() ? digits[v & 63] : '=';
        if (width != 0 && (column += 4) >= width) {
            out += "\r\n";
            column = 0;
        }
    }
    return out;
}

// RFC 2047: words of at most 75 characters, never cut inside a UTF-8 character.
static std::string encoded(const std::string& raw) {
    std::string text = one_line(raw);
    if (std::all_of(text.begin(), text.end(), [](unsigned char c) { return c < 0x80; }) && text.size() < 60) return text;
    std::string out, word;
    auto flush = [&] {
        if (!word.empty()) out += (out.empty() ? "" : "\r\n ") + ("=?UTF-8?B?" + base64(word, 0) + "?=");
        word.clear();
    };
    for (size_t i = 0; i < text.size();) {
        size_t n = 1;
        while (i + n < text.size() && (static_cast<unsigned char>(text[i + n]) & 0xC0) == 0x80) ++n;
        if (word.size() + n > 42) flush();
        word.append(text, i, n);
        i += n;
    }
    flush();
    return out;
}

// ---------------------------------------------------------------------------------------------- the database

struct Message {
    std::string id, token, key, key_hash, recipient, subject, greeting, body, unsubscribe_token;
    bool at_most_once, marketing, has_recipient;
};

class Outbox {
  public:
    explicit Outbox(const Options& options) : options_(options) {}
    ~Outbox() { PQfinish(db_); }

    // Until there is a connection, or somebody wants us to stop.
    bool connect() {
        for (int wait = 100; !stopping; wait = std::min(2 * wait, 5000)) {
            if (db_ != nullptr && PQstatus(db_) == CONNECTION_OK) return true;
            PQfinish(db_);
            db_ = PQconnectdb(options_.db.c_str());
            if (PQstatus(db_) == CONNECTION_OK && run("LISTEN lifecycle_outbox", {})) continue;
            say("no connection", PQerrorMessage(db_));
            std::this_thread::sleep_for(std::chrono::milliseconds(wait));
        }
        return false;
    }

    // Empty: nothing due, or no connection any more.
    std::vector<Message> claim() {
        std::vector<Message> messages;
        auto rows = run(
            "SELECT message_id, lease_token, idempotency_key, encode(sha256(convert_to(idempotency_key, 'UTF8')), 'hex'), recipient,"
            "       coalesce(subject, template), concat_ws(' ', payload ->> 'first_name', payload ->> 'last_name'),"
            "       payload #>> '{content,body}', payload ->> 'unsubscribe_token', delivery = 'at_most_once', class = 'marketing'"
            "  FROM lifecycle.claim($1, $2, $3, make_interval(secs => $4)) ORDER BY priority DESC, due_at",
            {std::to_string(options_.batch), options_.channel, options_.consumer, std::to_string(options_.lease)});
        for (int i = 0; rows && i < PQntuples(rows.get()); ++i) {
            auto text = [&](int column) { return std::string(PQgetvalue(rows.get(), i, column)); };
            messages.push_back({text(0), text(1), text(2), text(3), text(4), text(5), text(6), text(7), text(8), text(9) == "t", text(10) == "t",
                                !PQgetisnull(rows.get(), i, 4)});
        }
        return messages;
    }

    bool may_send(const Message& m) {
        auto rows = run("SELECT lifecycle.may_send($1, $2)", {m.id, m.token});
        return rows && std::strcmp(PQgetvalue(rows.get(), 0, 0), "t") == 0;
    }
    void extend(const std::vector<Message>& left) {
        if (!left.empty()) {
            run("SELECT lifecycle.extend($1, $2, make_interval(secs => $3))", {ids(left), left[0].token, std::to_string(options_.lease)});
        }
    }
    void release(const std::vector<Message>& left) {
        if (!left.empty()) run("SELECT lifecycle.release($1, $2)", {ids(left), left[0].token});
    }
    void fail(const Message& m, const std::string& why, bool permanent) {
        run("SELECT lifecycle.fail($1, $2, lease_token => $3, permanent => $4)", {m.id, why, m.token, permanent ? "t" : "f"});
    }
    void bounced(const Message& m) { run("SELECT lifecycle.feedback('bounce', $1)", {m.id}); }

    // What was sent is acknowledged, now or when the database is there again: the token still counts unless another mailer has it.
    void sent(const Message& m, const std::string& provider_id) {
        unsaid_.push_back({m.id, m.token, provider_id});
        settle();
    }
    void settle() {
        while (!unsaid_.empty()) {
            const Sent& s = unsaid_.front();
            if (!run("SELECT lifecycle.ack(ARRAY[$1::bigint], $2, ARRAY[$3])", {s.id, s.token, s.provider_id})) return;
            unsaid_.erase(unsaid_.begin());
        }
    }
    bool owes() const { return !unsaid_.empty(); }

    // Until a notification comes, the time is over, or somebody wants us to stop.
    void wait() {
        pollfd socket{PQsocket(db_), POLLIN, 0};
        if (::poll(&socket, 1, options_.poll) < 0 && errno != EINTR) return;
        PQconsumeInput(db_);
        while (PGnotify* notify = PQnotifies(db_)) PQfreemem(notify);  // however many: one look at the outbox
    }

  private:
    struct Sent {
        std::string id, token, provider_id;
    };
    using Result = std::unique_ptr<PGresult, decltype(&PQclear)>;

    Result run(const char* sql, const std::vector<std::string>& args) {
        std::vector<const char*> values;
        for (const auto& arg : args) values.push_back(arg.c_str());
        Result result(PQexecParams(db_, sql, static_cast<int>(values.size()), nullptr, values.data(), nullptr, nullptr, 0), PQclear);
        auto status = PQresultStatus(result.get());
        if (status == PGRES_TUPLES_OK || status == PGRES_COMMAND_OK) return result;
        say("database", PQerrorMessage(db_));
        return {nullptr, PQclear};
    }
    static std::string ids(const std::vector<Message>& messages) {
        std::string list;
        for (const Message& m : messages) list += (list.empty() ? "{" : ",") + m.id;
        return list + "}";
    }

    const Options& options_;
    PGconn* db_ = nullptr;
    std::vector<Sent> unsaid_;
};

// -------------------------------------------------------------------------------------------------- the mail

static std::string address_of(const std::string& from) {
    auto open = from.find('<');
    auto close = from.find('>', open);
    return open == std::string::npos || close == std::string::npos ? from : from.substr(open + 1, close - open - 1);
}

static std::string compose(const Message& m, const Options& options) {
    std::string sender = address_of(options.from);
    auto at = sender.find('@');
    std::string domain = at == std::string::npos ? "localhost" : sender.substr(at + 1);
    char date[64];
    std::time_t now = std::time(nullptr);
    std::tm utc;
    std::strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S +0000", gmtime_r(&now, &utc));

    std::string mail;
    mail += "From: " + one_line(options.from) + "\r\n";
    mail += "To: " + one_line(m.recipient) + "\r\n";
    mail += "Subject: " + encoded(m.subject) + "\r\n";
    mail += std::string("Date: ") + date + "\r\n";
    // The same whenever and by whomever the message is sent, so that whoever gets it twice can tell.
    mail += "Message-ID: <" + m.key_hash.substr(0, 40) + "@" + domain + ">\r\n";
    mail += "X-Lifecycle-Message: " + m.id + "\r\n";
    mail += "X-Lifecycle-Key: " + encoded(m.key) + "\r\n";
    if (m.marketing && !m.unsubscribe_token.empty() && !options.unsubscribe.empty()) {  // RFC 8058
        mail += "List-Unsubscribe: <" + options.unsubscribe + m.unsubscribe_token + ">\r\n";
        mail += "List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n";
    }
    mail += "Auto-Submitted: auto-generated\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=UTF-8\r\nContent-Transfer-Encoding: base64\r\n\r\n";
    mail += base64((m.greeting.empty() ? "" : m.greeting + ",\n\n") + m.body + "\n", 76);
    return mail + "\r\n";
}

enum class Outcome { accepted, refused, later, nobody_knows };
struct Delivery {
    Outcome outcome;
    std::string reply;
    bool no_such_address;
};

class Smtp {
  public:
    explicit Smtp(const Options& options) : options_(options), curl_(curl_easy_init()) {
        set(CURLOPT_URL, options.smtp.c_str());
        set(CURLOPT_UPLOAD, 1L);
        set(CURLOPT_USE_SSL, static_cast<long>(options.starttls ? CURLUSESSL_ALL : CURLUSESSL_NONE));
        if (!options.cacert.empty()) set(CURLOPT_CAINFO, options.cacert.c_str());
        set(CURLOPT_CONNECTTIMEOUT, 10L);
        set(CURLOPT_TIMEOUT, 120L);
        set(CURLOPT_NOSIGNAL, 1L);
        set(CURLOPT_READFUNCTION, &Smtp::read);
        set(CURLOPT_READDATA, this);
        set(CURLOPT_HEADERFUNCTION, &Smtp::reply);
        set(CURLOPT_HEADERDATA, this);
        sender_ = "<" + address_of(options.from) + ">";
        set(CURLOPT_MAIL_FROM, sender_.c_str());
    }
    ~Smtp() { curl_easy_cleanup(curl_); }

    Delivery send(const Message& m) {  // over one connection, as long as that holds
        mail_ = compose(m, options_);
        at_ = 0;
        reply_.clear();
        curl_slist* to = curl_slist_append(nullptr, ("<" + one_line(m.recipient) + ">").c_str());
        set(CURLOPT_MAIL_RCPT, to);
        CURLcode code = curl_easy_perform(curl_);
        curl_slist_free_all(to);
        long smtp = 0;
        curl_easy_getinfo(curl_, CURLINFO_RESPONSE_CODE, &smtp);
        if (code == CURLE_OK) return {Outcome::accepted, one_line(reply_), false};
        std::string why = smtp >= 400 ? one_line(reply_) : curl_easy_strerror(code);
        // The end of the mail had gone out and no answer has come: it may be on its way.
        if (at_ == mail_.size() && smtp < 400) return {Outcome::nobody_knows, why, false};
        if (smtp >= 500) return {Outcome::refused, why, at_ == 0 && (smtp == 550 || smtp == 551 || smtp == 553)};
        return {Outcome::later, why, false};
    }

  private:
    template <class V>
    void set(CURLoption option, V value) {
        curl_easy_setopt(curl_, option, value);
    }
    static size_t read(char* to, size_t size, size_t n, void* self) {
        auto* smtp = static_cast<Smtp*>(self);
        size_t some = std::min(size * n, smtp->mail_.size() - smtp->at_);
        std::memcpy(to, smtp->mail_.data() + smtp->at_, some);
        smtp->at_ += some;
        return some;
    }
    static size_t reply(char* line, size_t size, size_t n, void* self) {
        std::string& kept = static_cast<Smtp*>(self)->reply_;
        if (kept[0] != '4' && kept[0] != '5') kept.assign(line, size * n);  // the last one counts, or the first refusal
        return size * n;
    }

    const Options& options_;
    CURL* curl_;
    std::string sender_, mail_, reply_;
    size_t at_ = 0;
};

// -------------------------------------------------------------------------------------------------- the work

static void send_one(Outbox& outbox, Smtp& smtp, const Message& m) {
    if (!m.has_recipient) return outbox.fail(m, "no address is known", true);
    // The last word: the cart may have been bought, or the lease may have run out, since the claim.
    if (!outbox.may_send(m)) return outbox.fail(m, "may_send() said no", false);
    Delivery d = smtp.send(m);
    switch (d.outcome) {
        case Outcome::accepted:
            outbox.sent(m, d.reply);
            break;
        case Outcome::refused:
            outbox.fail(m, d.reply, true);
            if (d.no_such_address) outbox.bounced(m);
            break;
        case Outcome::nobody_knows:
            if (m.at_most_once) break;  // its lease will run out and it will be unknown
            [[fallthrough]];
        case Outcome::later:
            outbox.fail(m, d.reply, false);
            break;
    }
}

static void send_all(Outbox& outbox, Smtp& smtp, std::vector<Message> messages, const Options& options) {
    auto renewed = Clock::now();
    while (!messages.empty()) {
        if (stopping) return outbox.release(messages);
        if (Clock::now() - renewed > std::chrono::seconds(options.lease) / 2) {
            outbox.extend(messages);
            renewed = Clock::now();
        }
        Message m = std::move(messages.front());
        messages.erase(messages.begin());
        send_one(outbox, smtp, m);
        if (outbox.owes()) return;  // the database is gone; the leases of the others will run out
    }
}

static Options parse(int argc, char** argv) {
    Options o;
    o.consumer = "mailer-" + std::to_string(getpid());
    for (int i = 1; i < argc; ++i) {
        std::string name = argv[i];
        if (name == "--starttls") { o.starttls = true; continue; }
        if (name == "--once") { o.once = true; continue; }
        if (++i == argc) { say("no value for", name); std::exit(2); }
        std::string value = argv[i];
        if (name == "--db") o.db = value;
        else if (name == "--smtp") o.smtp = value;
        else if (name == "--from") o.from = value;
        else if (name == "--channel") o.channel = value;
        else if (name == "--consumer") o.consumer = value;
        else if (name == "--cacert") o.cacert = value;
        else if (name == "--unsubscribe") o.unsubscribe = value;
        else if (name == "--batch") o.batch = std::atoi(value.c_str());
        else if (name == "--lease") o.lease = std::atoi(value.c_str());
        else if (name == "--poll") o.poll = std::atoi(value.c_str());
        else { say("no such option", name); std::exit(2); }
    }
    if (o.smtp.empty() || o.from.empty() || o.batch < 1 || o.lease < 1) {
        say("usage", "--db CONNINFO --smtp URL --from ADDRESS [--channel C] [--consumer NAME] [--batch N] [--lease SECONDS] [--poll MS]\n"
                     "    [--starttls] [--cacert FILE] [--unsubscribe 'https://shop.example/unsubscribe?t='] [--once]");
        std::exit(2);
    }
    return o;
}

int main(int argc, char** argv) {
    Options options = parse(argc, argv);
    struct sigaction action {};
    action.sa_handler = stop;  // no SA_RESTART: poll() is to return
    sigaction(SIGTERM, &action, nullptr);
    sigaction(SIGINT, &action, nullptr);
    std::signal(SIGPIPE, SIG_IGN);
    curl_global_init(CURL_GLOBAL_DEFAULT);

    {
        Outbox outbox(options);
        Smtp smtp(options);
        while (outbox.connect()) {
            outbox.settle();
            if (outbox.owes()) continue;
            auto messages = outbox.claim();
            if (!messages.empty()) {
                send_all(outbox, smtp, std::move(messages), options);
            } else if (options.once) {
                break;
            } else {
                outbox.wait();
            }
        }
        outbox.settle();
    }
    curl_global_cleanup();
    return 0;
}
