#include "rules/decimal.hpp"

#include "rules/fence.hpp"

namespace lifecycle::rules {

namespace {

// 10^36 units = 10^24 whole units: no shop's money is larger, and twice it still fits into 128 bits.
constexpr __int128 power_of_ten(int n) {
    __int128 p = 1;
    while (n-- > 0) p *= 10;
    return p;
}
constexpr __int128 kLimit = power_of_ten(36);
constexpr __int128 kAmountLimit = power_of_ten(18 + Decimal::kScale);

std::optional<Decimal> checked(__int128 units, std::uint8_t digits) {
    if (units > kLimit || units < -kLimit) return std::nullopt;
    return Decimal{units, digits};
}

}  // namespace

std::optional<Decimal> Decimal::parse(std::string_view text) {
    bool negative = false;
    std::size_t i = 0;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) negative = text[i++] == '-';

    __int128 units = 0;
    int decimals = -1;  // -1: the point has not been seen
    bool any = false;
    for (; i < text.size(); ++i) {
        char c = text[i];
        if (c == '.' && decimals < 0) {
            decimals = 0;
            continue;
        }
        if (c < '0' || c > '9') return std::nullopt;
        any = true;
        if (decimals >= kScale) {
            if (c != '0') return std::nullopt;  // more precise than can be kept
            continue;
        }
        if (units > kLimit / 10) return std::nullopt;
        units = units * 10 + (c - '0');
        if (decimals >= 0) ++decimals;
    }
    if (!any) return std::nullopt;

    int seen = decimals < 0 ? 0 : decimals;
    for (int k = seen; k < kScale; ++k) {
        if (units > kLimit / 10) return std::nullopt;
        units *= 10;
    }
    return checked(negative ? -units : units, static_cast<std::uint8_t>(seen));
}

std::string_view Decimal::format(std::span<char> buffer) const {
    std::size_t at = buffer.size();
    unsigned __int128 rest = units < 0 ? -static_cast<unsigned __int128>(units) : static_cast<unsigned __int128>(units);

    for (int k = kScale; k > digits; --k) rest /= 10;  // zeros by the meaning of `digits`
    for (int k = 0; k < digits; ++k, rest /= 10) buffer[--at] = static_cast<char>('0' + static_cast<int>(rest % 10));
    if (digits > 0) buffer[--at] = '.';
    do {
        buffer[--at] = static_cast<char>('0' + static_cast<int>(rest % 10));
        rest /= 10;
    } while (rest != 0);
    if (units < 0) buffer[--at] = '-';
    return {buffer.data() + at, buffer.size() - at};
}

bool is_addable(Decimal amount) { return amount.units < kAmountLimit && amount.units > -kAmountLimit; }

std::optional<Decimal> add(Decimal a, Decimal b) {
    return checked(a.units + b.units, a.digits > b.digits ? a.digits : b.digits);
}

std::optional<Decimal> subtract(Decimal a, Decimal b) {
    return checked(a.units - b.units, a.digits > b.digits ? a.digits : b.digits);
}

namespace {

// The first digit to the base 10,000, and the power of 10,000 at which it stands. Zero has neither.
struct Leading {
    int digit;
    int weight;
};

Leading leading(std::uint64_t number, int weight_of_last) {
    if (number == 0) return {0, 0};
    int weight = weight_of_last;
    for (; number >= 10000; number /= 10000) ++weight;
    return {static_cast<int>(number), weight};
}

// As select_div_scale() does.
int scale_of_quotient(Leading dividend, Leading divisor, int decimals) {
    constexpr int kDigitsThatMatter = 16;
    int weight = dividend.weight - divisor.weight - (dividend.digit <= divisor.digit ? 1 : 0);
    int scale = kDigitsThatMatter - 4 * weight;
    return scale > decimals ? scale : decimals;
}

}  // namespace

std::optional<Scaled> share(Decimal sum, std::int64_t count) {
    constexpr std::int64_t kUsual = 1'000'000'000;  // what is divided stays below 10^36
    constexpr __int128 kUsualSum = power_of_ten(18);
    if (count <= 0 || count > kUsual || sum.units > kUsualSum || sum.units < -kUsualSum) return std::nullopt;
    auto size = static_cast<std::uint64_t>(sum.units < 0 ? -sum.units : sum.units);
    int scale = scale_of_quotient(leading(size, -Decimal::kScale / 4), leading(static_cast<std::uint64_t>(count), 0), sum.digits);

    unsigned __int128 dividend = size, divisor = static_cast<std::uint64_t>(count);
    for (int k = Decimal::kScale; k < scale; ++k) dividend *= 10;
    for (int k = scale; k < Decimal::kScale; ++k) divisor *= 10;
    unsigned __int128 quotient = dividend / divisor;
    if (dividend - quotient * divisor >= divisor - divisor / 2) ++quotient;
    auto value = static_cast<__int128>(quotient);
    return Scaled{sum.units < 0 ? -value : value, scale};
}

}  // namespace lifecycle::rules
