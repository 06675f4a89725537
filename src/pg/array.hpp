// A growing array in a memory context: what std::vector is elsewhere. It owns nothing that a longjmp could leak.
#pragma once

#include <span>
#include <type_traits>

#include "pg/postgres.hpp"

namespace lifecycle::pg {

template <class T>
struct Array {
    static_assert(std::is_trivially_copyable_v<T> && std::is_trivially_destructible_v<T>);
    static_assert(alignof(T) <= MAXIMUM_ALIGNOF);

    // Most arrays stay short; large elements begin with few, or each such array would be a block of its own to the memory context.
    static constexpr size_t kFirst = sizeof(T) <= 32 ? 16 : sizeof(T) <= 128 ? 4 : 2;

    T* data = nullptr;
    size_t size = 0;
    size_t capacity = 0;

    void reserve(size_t wanted) {
        if (wanted <= capacity) return;
        size_t grown = capacity == 0 ? kFirst : capacity * 2;
        if (grown < wanted) grown = wanted;
        data = static_cast<T*>(data == nullptr ? MemoryContextAllocHuge(CurrentMemoryContext, grown * sizeof(T))
                                               : repalloc_huge(data, grown * sizeof(T)));
        capacity = grown;
    }
    T& push(const T& value) {
        if (size == capacity) {
            T copy = value;  // `value` may live in the array that is about to move
            reserve(size + 1);
            return data[size++] = copy;
        }
        return data[size++] = value;
    }
    void clear() { size = 0; }
    bool empty() const { return size == 0; }
    T& operator[](size_t i) { return data[i]; }
    const T& operator[](size_t i) const { return data[i]; }
    T* begin() { return data; }
    T* end() { return data + size; }
    const T* begin() const { return data; }
    const T* end() const { return data + size; }
    std::span<T> span() { return {data, size}; }
};

// A fresh array of n zeroed elements.
template <class T>
std::span<T> zeroed(size_t n) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) <= MAXIMUM_ALIGNOF);
    void* memory = MemoryContextAllocExtended(CurrentMemoryContext, n * sizeof(T), MCXT_ALLOC_HUGE | MCXT_ALLOC_ZERO);
    return {static_cast<T*>(memory), n};
}

}  // namespace lifecycle::pg
