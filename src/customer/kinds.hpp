// The kinds of fact that there are, and the fields of each.
#pragma once

#include <string_view>

#include "pg/array.hpp"

namespace lifecycle {

enum class FactKind : uint8 {
    customer, order, refund, consent,                                              // with tables of their own shape
    order_item, cart, engagement, delivery, review, wishlist, referral, event,      // logged as they are
    order_detail,                                                                   // what an order says beside its amount
    count
};

struct FieldSpec {
    const char* name;
    Oid type;
    bool required = false;
    bool key = false;              // of a logged kind: what tells its facts apart
    const char* column = nullptr;  // in the kind's table, if not called as the field is
    bool indexed = false;          // found by an index, though neither required nor a key
};

struct KindSpec {
    const char* name;
    FactKind kind;
    std::span<const FieldSpec> fields;  // `customer` is always the first
    const char* table;                  // of a logged kind
    int time;                           // which field says when it happened, 0: none
};

const KindSpec& spec_of(FactKind kind);
// nullptr: there is none of that name that a shop can say.
const KindSpec* find_kind(std::string_view name);

inline bool is_purchase(FactKind kind) { return kind == FactKind::order || kind == FactKind::refund; }
inline bool is_logged(FactKind kind) { return kind >= FactKind::order_item; }
inline const char* column_of(const FieldSpec& field) { return field.column != nullptr ? field.column : field.name; }

// Fields that code asks for by number.
namespace field {
inline constexpr int order_cart = 5, order_coupon = 6;
inline constexpr int item_order = 1, item_quantity = 5, item_amount = 6;
inline constexpr int cart_value = 2, cart_stage = 4;
inline constexpr int engagement_type = 1;
inline constexpr int delivered_at = 2, shipped_at = 3;
inline constexpr int rating = 2;
}  // namespace field

}  // namespace lifecycle
