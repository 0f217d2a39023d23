// Bytes of event files -> events: what evt.py, dat.py and aedat4.py define in numpy, in one pass. Little-endian machines.
#include <algorithm>
#include <bit>
#include <cstdint>
#include <cstring>

#define PUBLIC extern "C" __attribute__((visibility("default")))

namespace {

// Fields of `_State` of evt.py, in its order.
struct State {
    int64_t high, wraps, low, row, base, base_on;
};

// Words that are no events, and events that cannot be placed; the order is that of LEFT_OUT of compiled.py.
struct LeftOut {
    int64_t trigger, other, unknown, before_time, without_address;
};

struct Columns {
    int64_t* t;
    uint16_t* x;
    uint16_t* y;
    uint8_t* on;
    int64_t count = 0;

    void add(int64_t time, int64_t column, int64_t row, bool brighter) {
        t[count] = time;
        x[count] = static_cast<uint16_t>(column);
        y[count] = static_cast<uint16_t>(row);
        on[count++] = brighter;
    }
};

// The upper part of the time, `bits` wide: a step from the last 16th of its range into the first is a wrap.
void set_high(State& state, int64_t value, int bits) {
    const int64_t edge = (int64_t{1} << bits) / 16;
    state.wraps += state.high >= (int64_t{1} << bits) - edge && value < edge;
    state.high = value;
}

template <bool vectors>
int64_t decode_2(const uint32_t* words, int64_t count, int upper, State& state, LeftOut& out, Columns columns) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t word = vectors ? words[2 * i + upper] : words[i];
        uint32_t mask = vectors ? words[2 * i + 1 - upper] : 1;
        const uint32_t kind = word >> 28;
        if (kind < 2) {
            if (state.high < 0) {
                out.before_time += std::popcount(mask);
                continue;
            }
            const int64_t time = (state.high + (state.wraps << 28)) << 6 | (word >> 22 & 63);
            for (; mask; mask &= mask - 1)
                columns.add(time, (word >> 11 & 0x7FF) + std::countr_zero(mask), word & 0x7FF, kind);
        } else if (kind == 8) {
            set_high(state, word & 0xFFFFFFF, 28);
        } else {
            out.trigger += kind == 0xA;
            out.other += kind >= 0xE;
            out.unknown += kind != 0xA && kind < 0xE;
        }
    }
    return columns.count;
}

}  // namespace

// Events of words at most, for which there has to be room.
PUBLIC int64_t most_2_0(const uint32_t*, int64_t count, int) { return count; }

PUBLIC int64_t most_2_1(const uint32_t* words, int64_t count, int swapped) {
    int64_t most = 0;
    for (int64_t i = 0; i < count; ++i) most += std::popcount(words[2 * i + (swapped ? 1 : 0)]);
    return most;
}

PUBLIC int64_t most_3_0(const uint16_t* words, int64_t count, int) {
    int64_t most = 0;
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t word = words[i], kind = word >> 12;
        const uint32_t mask = kind == 2 ? 1 : kind == 4 ? 0xFFF : kind == 5 ? 0xFF : 0;
        most += std::popcount((kind == 2 ? 1 : word) & mask);
    }
    return most;
}

PUBLIC int64_t decode_2_0(const uint32_t* words, int64_t count, int, State* state, LeftOut* out, int64_t* t,
                          uint16_t* x, uint16_t* y, uint8_t* on) {
    return decode_2<false>(words, count, 0, *state, *out, {t, x, y, on});
}

PUBLIC int64_t decode_2_1(const uint32_t* words, int64_t count, int swapped, State* state, LeftOut* out, int64_t* t,
                          uint16_t* x, uint16_t* y, uint8_t* on) {
    return decode_2<true>(words, count, swapped ? 0 : 1, *state, *out, {t, x, y, on});
}

PUBLIC int64_t decode_3_0(const uint16_t* words, int64_t count, int, State* kept, LeftOut* out, int64_t* t,
                          uint16_t* x, uint16_t* y, uint8_t* on) {
    State state = *kept;
    Columns columns{t, x, y, on};
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t word = words[i], kind = word >> 12, value = word & 0xFFF;
        const int64_t time = ((state.high + (state.wraps << 12)) << 12) + state.low;
        switch (kind) {
            case 0x0:
                state.row = value & 0x7FF;
                break;
            case 0x2:
                if (state.high < 0)
                    ++out->before_time;
                else if (state.row < 0)
                    ++out->without_address;
                else
                    columns.add(time, value & 0x7FF, state.row, value >> 11);
                break;
            case 0x3:
                state.base = value & 0x7FF;
                state.base_on = value >> 11;
                break;
            case 0x4:
            case 0x5: {
                uint32_t mask = kind == 4 ? value : value & 0xFF;
                if (state.high < 0)
                    out->before_time += std::popcount(mask);
                else if (state.row < 0 || state.base < 0)
                    out->without_address += std::popcount(mask);
                else
                    for (; mask; mask &= mask - 1) {
                        const int64_t column = state.base + std::countr_zero(mask);
                        columns.add(time, std::min<int64_t>(column, UINT16_MAX), state.row, state.base_on);
                    }
                if (state.base >= 0) state.base += kind == 4 ? 12 : 8;
                break;
            }
            case 0x6:
                state.low = value;
                break;
            case 0x8:
                if (value != state.high) state.low = 0;
                set_high(state, value, 12);
                break;
            case 0xA:
                ++out->trigger;
                break;
            case 0x7:
            case 0xE:
            case 0xF:
                ++out->other;
                break;
            default:
                ++out->unknown;
        }
    }
    *kept = state;
    return columns.count;
}

PUBLIC void decode_dat(const uint32_t* words, int64_t count, int x_bits, int y_bits, int64_t* t, uint16_t* x,
                       uint16_t* y, uint8_t* on) {
    for (int64_t i = 0; i < count; ++i) {
        const uint32_t address = words[2 * i + 1];
        t[i] = words[2 * i];
        x[i] = static_cast<uint16_t>(address & ((1u << x_bits) - 1));
        y[i] = static_cast<uint16_t>(address >> x_bits & ((1u << y_bits) - 1));
        on[i] = address >> (x_bits + y_bits) & 1;
    }
}

// Events of AEDAT 4.0, 16 bytes each, from byte `at` of an unpacked packet on.
PUBLIC void decode_aedat4(const char* packet, int64_t at, int64_t count, int64_t* t, uint16_t* x, uint16_t* y,
                          uint8_t* on) {
    for (const char* event = packet + at; count--; event += 16) {
        std::memcpy(t++, event, sizeof *t);
        std::memcpy(x++, event + 8, sizeof *x);
        std::memcpy(y++, event + 10, sizeof *y);
        *on++ = event[12] != 0;
    }
}
