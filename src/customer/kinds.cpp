#include "customer/kinds.hpp"

namespace lifecycle {

namespace {

constexpr FieldSpec kCustomer[] = {
    {"customer", TEXTOID, true},
    {"email", TEXTOID, false, false, nullptr, true},
    {"phone", TEXTOID},
    {"first_name", TEXTOID},
    {"last_name", TEXTOID},
    {"locale", TEXTOID},
    {"time_zone", TEXTOID},
    {"birthday", DATEOID},
    {"created_at", TIMESTAMPTZOID},
    {"tags", TEXTARRAYOID},
    {"attributes", JSONBOID}};
constexpr FieldSpec kOrder[] = {
    {"customer", TEXTOID, true}, {"order", TEXTOID, true}, {"amount", NUMERICOID}, {"placed_at", TIMESTAMPTZOID, true},
    {"currency", TEXTOID},       {"cart", TEXTOID},        {"coupon", TEXTOID}};
constexpr FieldSpec kRefund[] = {
    {"customer", TEXTOID, true}, {"refund", TEXTOID, true}, {"amount", NUMERICOID, true}, {"refunded_at", TIMESTAMPTZOID, true},
    {"currency", TEXTOID},       {"order", TEXTOID}};
constexpr FieldSpec kConsent[] = {
    {"customer", TEXTOID, true}, {"channel", TEXTOID, true}, {"status", TEXTOID, true}, {"changed_at", TIMESTAMPTZOID, true},
    {"evidence", TEXTOID}};
// Without a customer an item or a delivery is that of whoever placed the order.
constexpr FieldSpec kOrderItem[] = {
    {"customer", TEXTOID},
    {"order", TEXTOID, true, true, "order_id"},
    {"line", TEXTOID, true, true},
    {"product", TEXTOID, true},
    {"category", TEXTOID, false, false, nullptr, true},
    {"quantity", NUMERICOID},
    {"amount", NUMERICOID}};
constexpr FieldSpec kCart[] = {
    {"customer", TEXTOID, true},
    {"cart", TEXTOID, true, true, "cart_id"},
    {"value", NUMERICOID},
    {"currency", TEXTOID},
    {"stage", TEXTOID},
    {"items", JSONBOID},
    {"url", TEXTOID},
    {"updated_at", TIMESTAMPTZOID, true}};
constexpr FieldSpec kEngagement[] = {
    {"customer", TEXTOID, true}, {"type", TEXTOID, true, true}, {"occurred_at", TIMESTAMPTZOID, true, true}, {"message", TEXTOID, false, true}};
constexpr FieldSpec kDelivery[] = {
    {"customer", TEXTOID},
    {"order", TEXTOID, true, true, "order_id"},
    {"delivered_at", TIMESTAMPTZOID},
    {"shipped_at", TIMESTAMPTZOID}};
constexpr FieldSpec kReview[] = {
    {"customer", TEXTOID, true}, {"review", TEXTOID, true, true}, {"rating", NUMERICOID, true}, {"product", TEXTOID},
    {"reviewed_at", TIMESTAMPTZOID, true}};
constexpr FieldSpec kWishlist[] = {
    {"customer", TEXTOID, true}, {"product", TEXTOID, true, true}, {"added_at", TIMESTAMPTZOID, true}};
constexpr FieldSpec kReferral[] = {
    {"customer", TEXTOID, true}, {"referral", TEXTOID, true, true}, {"referred", TEXTOID, true}, {"referred_at", TIMESTAMPTZOID, true}};
constexpr FieldSpec kEvent[] = {
    {"customer", TEXTOID, true}, {"event", TEXTOID, true, true}, {"occurred_at", TIMESTAMPTZOID, true, true}, {"properties", JSONBOID}};
constexpr FieldSpec kOrderDetail[] = {
    {"customer", TEXTOID, true}, {"order", TEXTOID, true, true, "order_id"}, {"cart", TEXTOID}, {"coupon", TEXTOID}};

constexpr KindSpec kKinds[] = {{"customer", FactKind::customer, kCustomer, nullptr, 0},
                               {"order", FactKind::order, kOrder, nullptr, 3},
                               {"refund", FactKind::refund, kRefund, nullptr, 3},
                               {"consent", FactKind::consent, kConsent, nullptr, 3},
                               {"order_item", FactKind::order_item, kOrderItem, "order_item", 0},
                               {"cart", FactKind::cart, kCart, "cart", 7},
                               {"engagement", FactKind::engagement, kEngagement, "engagement", 2},
                               {"delivery", FactKind::delivery, kDelivery, "delivery", 2},
                               {"review", FactKind::review, kReview, "review", 4},
                               {"wishlist", FactKind::wishlist, kWishlist, "wishlist", 2},
                               {"referral", FactKind::referral, kReferral, "referral", 3},
                               {"event", FactKind::event, kEvent, "event", 2},
                               {nullptr, FactKind::order_detail, kOrderDetail, "order_detail", 0}};
static_assert(std::size(kKinds) == static_cast<size_t>(FactKind::count));

}  // namespace

const KindSpec& spec_of(FactKind kind) { return kKinds[static_cast<int>(kind)]; }

const KindSpec* find_kind(std::string_view name) {
    for (const KindSpec& kind : kKinds) {
        if (kind.name != nullptr && name == kind.name) return &kind;
    }
    return nullptr;
}

}  // namespace lifecycle
