// runtime/image_colour.c -- the colours of images.
//
// Most operations map a channel's bytes through a table, or go from a degenerate image (black,
// grey, smoothed) towards the image by a factor.
#include "runtime/image.h"

#include <math.h>
#include <string.h>

// ---- blending -----------------------------------------------------------------------------------

/// From `a` (0) by way of `b` (1): cut off, not rounded, in f32.
static uint8_t blend(uint8_t a, uint8_t b, float factor) {
    float x = (float)a + factor * (float)(b - a);
    return x <= 0 ? 0 : x >= 255 ? 255 : (uint8_t)x;
}

/// The brightness of colours by ITU-R 601, in 16-bit fixed point.
static uint8_t grey_at(const Image *in, int64_t y, int64_t x) {
    const uint8_t *at = in->at + y * in->row + x;
    if (in->channels != 3)
        return at[0];
    return (uint8_t)((at[0] * 19595 + at[in->plane] * 38470 + at[2 * in->plane] * 7471 + 0x8000) >>
                     16);
}

static void map_bytes(const Image *in, const Image *out, int64_t channel,
                      const uint8_t table[256]) {
    for (int64_t y = 0; y < in->height; y++) {
        const uint8_t *from = in->at + channel * in->plane + y * in->row;
        uint8_t *to = out->at + channel * out->plane + y * out->row;
        for (int64_t x = 0; x < in->width; x++)
            to[x] = table[from[x]];
    }
}

static void map_all(const Image *in, const Image *out, const uint8_t table[256]) {
    for (int64_t c = 0; c < in->channels; c++)
        map_bytes(in, out, c, table);
}

static void blend_with_byte(const Image *in, const Image *out, uint8_t from, double factor) {
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = blend(from, (uint8_t)i, (float)factor);
    map_all(in, out, table);
}

void kdrt_image_brightness(const Image *in, const Image *out, double factor) {
    blend_with_byte(in, out, 0, factor);
}

void kdrt_image_contrast(const Image *in, const Image *out, double factor) {
    int64_t sum = 0;
    for (int64_t y = 0; y < in->height; y++)
        for (int64_t x = 0; x < in->width; x++)
            sum += grey_at(in, y, x);
    double mean = (double)sum / (double)(in->height * in->width);
    blend_with_byte(in, out, (uint8_t)(mean + 0.5), factor);
}

void kdrt_image_saturation(const Image *in, const Image *out, double factor) {
    for (int64_t y = 0; y < in->height; y++) {
        for (int64_t x = 0; x < in->width; x++) {
            uint8_t grey = grey_at(in, y, x);
            for (int64_t c = 0; c < in->channels; c++)
                out->at[c * out->plane + y * out->row + x] =
                    blend(grey, in->at[c * in->plane + y * in->row + x], (float)factor);
        }
    }
}

void kdrt_image_grayscale(const Image *in, const Image *out) {
    kdrt_image_saturation(in, out, 0);
}

/// The mean of a pixel and its eight neighbours, the pixel five times as heavy, rounded; a
/// thirteenth never falls between two bytes. The rim is left as it is.
static uint8_t smooth_at(const Image *in, const uint8_t *at, int64_t y, int64_t x) {
    if (y == 0 || x == 0 || y == in->height - 1 || x == in->width - 1)
        return *at;
    int sum = 4 * *at;
    for (int64_t dy = -1; dy <= 1; dy++)
        for (int64_t dx = -1; dx <= 1; dx++)
            sum += at[dy * in->row + dx];
    return (uint8_t)((2 * sum + 13) / 26);
}

void kdrt_image_sharpness(const Image *in, const Image *out, double factor) {
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = 0; y < in->height; y++) {
            const uint8_t *from = in->at + c * in->plane + y * in->row;
            uint8_t *to = out->at + c * out->plane + y * out->row;
            for (int64_t x = 0; x < in->width; x++)
                to[x] = blend(smooth_at(in, from + x, y, x), from[x], (float)factor);
        }
    }
}

// ---- tables -------------------------------------------------------------------------------------

void kdrt_image_invert(const Image *in, const Image *out) {
    kdrt_image_solarize(in, out, 0);
}

void kdrt_image_posterize(const Image *in, const Image *out, int bits) {
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)(i & ~((1 << (8 - bits)) - 1));
    map_all(in, out, table);
}

void kdrt_image_solarize(const Image *in, const Image *out, double threshold) {
    uint8_t table[256];
    for (int i = 0; i < 256; i++)
        table[i] = (uint8_t)(i < threshold ? i : 255 - i);
    map_all(in, out, table);
}

static void count_bytes(const Image *in, int64_t channel, int64_t count[256]) {
    memset(count, 0, 256 * sizeof *count);
    for (int64_t y = 0; y < in->height; y++)
        for (int64_t x = 0; x < in->width; x++)
            count[in->at[channel * in->plane + y * in->row + x]]++;
}

void kdrt_image_autocontrast(const Image *in, const Image *out) {
    for (int64_t c = 0; c < in->channels; c++) {
        int64_t count[256];
        uint8_t table[256];
        int low = 0, high = 255;
        count_bytes(in, c, count);
        while (low < 255 && !count[low])
            low++;
        while (high > 0 && !count[high])
            high--;
        double scale = high > low ? 255.0 / (high - low) : 1,
               offset = high > low ? -low * scale : 0;
        for (int i = 0; i < 256; i++) {
            int stretched = (int)(i * scale + offset);
            table[i] = (uint8_t)(stretched < 0 ? 0 : stretched > 255 ? 255 : stretched);
        }
        map_bytes(in, out, c, table);
    }
}

void kdrt_image_equalize(const Image *in, const Image *out) {
    for (int64_t c = 0; c < in->channels; c++) {
        int64_t count[256], total = 0, last = 0, used = 0;
        uint8_t table[256];
        count_bytes(in, c, count);
        for (int i = 0; i < 256; i++) {
            total += count[i];
            last = count[i] ? count[i] : last;
            used += count[i] > 0;
        }
        int64_t step = used > 1 ? (total - last) / 255 : 0, below = step / 2;
        for (int i = 0; i < 256; i++) {
            int64_t level = step ? below / step : i;
            table[i] = (uint8_t)(level > 255 ? 255 : level);
            below += count[i];
        }
        map_bytes(in, out, c, table);
    }
}

// ---- hue ----------------------------------------------------------------------------------------

static uint8_t to_byte(double x) {
    return x <= 0 ? 0 : x >= 255 ? 255 : (uint8_t)x;
}

/// Hue, saturation and value as bytes, in the single and double precision in which Pillow does it.
static void to_hsv(const uint8_t rgb[3], uint8_t hsv[3]) {
    uint8_t r = rgb[0], g = rgb[1], b = rgb[2];
    uint8_t high = r > g ? r : g, low = r < g ? r : g;
    high = b > high ? b : high;
    low = b < low ? b : low;
    hsv[0] = hsv[1] = 0;
    hsv[2] = high;
    if (high == low)
        return;
    float range = (float)(high - low), s = range / (float)high, h;
    float rc = (float)(high - r) / range, gc = (float)(high - g) / range;
    float bc = (float)(high - b) / range;
    if (r == high)
        h = bc - gc;
    else if (g == high)
        h = (float)(2.0 + rc - bc);
    else
        h = (float)(4.0 + gc - rc);
    h = (float)fmod(h / 6.0 + 1.0, 1.0);
    hsv[0] = to_byte((int)(h * 255.0));
    hsv[1] = to_byte((int)(s * 255.0));
}

static void from_hsv(const uint8_t hsv[3], uint8_t rgb[3]) {
    uint8_t v = hsv[2];
    if (hsv[1] == 0) {
        rgb[0] = rgb[1] = rgb[2] = v;
        return;
    }
    double h = hsv[0] * 6.0 / 255.0;
    int sector = (int)floor(h);
    float f = (float)(h - sector), s = (float)(hsv[1] / 255.0);
    uint8_t p = to_byte(round(v * (1.0 - s))), q = to_byte(round(v * (1.0 - s * f)));
    uint8_t t = to_byte(round(v * (1.0 - s * (1.0 - f))));
    const uint8_t of_sector[6][3] = {{v, t, p}, {q, v, p}, {p, v, t},
                                     {p, q, v}, {t, p, v}, {v, p, q}};
    memcpy(rgb, of_sector[sector % 6], 3);
}

void kdrt_image_hue(const Image *in, const Image *out, double turn) {
    if (in->channels != 3) {
        kdrt_image_copy(in, out);
        return;
    }
    for (int64_t y = 0; y < in->height; y++) {
        for (int64_t x = 0; x < in->width; x++) {
            uint8_t rgb[3], hsv[3];
            for (int c = 0; c < 3; c++)
                rgb[c] = in->at[c * in->plane + y * in->row + x];
            to_hsv(rgb, hsv);
            hsv[0] = (uint8_t)(hsv[0] + (int)(turn * 255));
            from_hsv(hsv, rgb);
            for (int c = 0; c < 3; c++)
                out->at[c * out->plane + y * out->row + x] = rgb[c];
        }
    }
}
