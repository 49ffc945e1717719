// runtime/image.c -- the geometry of images: windows, resizing, affine maps.
//
// Resizing weighs source pixels by a filter of the output's pixel grid; weights are 22-bit fixed
// point, as in Pillow, whose bytes these are. Affine maps of nearest neighbour take steps of 2^-16
// pixels, but for those that only shift and scale, which are worked out in double.
#include "runtime/image.h"

#include <math.h>
#include <string.h>

Image kdrt_image(uint8_t *at, int64_t channels, int64_t height, int64_t width) {
    return (Image){at, channels, height, width, width, height * width};
}

Image kdrt_image_window(const Image *image, int64_t top, int64_t left, int64_t height,
                        int64_t width) {
    Image window = *image;
    window.at += top * image->row + left;
    window.height = height;
    window.width = width;
    return window;
}

void kdrt_image_copy(const Image *in, const Image *out) {
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t y = 0; y < in->height; y++)
            memcpy(out->at + c * out->plane + y * out->row, in->at + c * in->plane + y * in->row,
                   (size_t)in->width);
}

// ---- resizing -----------------------------------------------------------------------------------

enum { WEIGHT_BITS = 22 };

/// The weights of one axis: output i is the sum over k < count[i] of weight[i * most + k] times
/// input first[i] + k.
typedef struct Taps {
    int64_t most;
    int64_t *first, *count;
    int32_t *weight;
} Taps;

static double filter_support(ImageFilter filter) {
    return filter == FILTER_BICUBIC ? 2.0 : 1.0;
}

static double filter_weight(ImageFilter filter, double x) {
    x = fabs(x);
    if (filter == FILTER_BILINEAR)
        return x < 1.0 ? 1.0 - x : 0.0;
    const double a = -0.5;
    if (x < 1.0)
        return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    return x < 2.0 ? (((x - 5) * x + 8) * x - 4) * a : 0.0;
}

/// Source pixels per output pixel, at least 1: by that much the filter is stretched.
static double stretch_of(int64_t in, int64_t out) {
    double scale = (double)in / (double)out;
    return scale < 1.0 ? 1.0 : scale;
}

static int64_t most_taps(int64_t in, int64_t out, double support) {
    return (int64_t)ceil(support * stretch_of(in, out)) * 2 + 1;
}

/// A bound of what make_taps() takes; 8-aligned.
static int64_t taps_bytes(int64_t in, int64_t out) {
    int64_t bytes = out * (2 * (int64_t)sizeof(int64_t) +
                           most_taps(in, out, 2.0) * (int64_t)(sizeof(int32_t) + sizeof(double)));
    return (bytes + 7) & ~(int64_t)7;
}

static Taps make_taps(int64_t in, int64_t out, ImageFilter filter, uint8_t *work) {
    double scale = (double)in / (double)out, stretch = stretch_of(in, out);
    double support = filter_support(filter) * stretch;
    Taps taps = {.most = most_taps(in, out, filter_support(filter))};
    taps.first = (int64_t *)(void *)work;
    taps.count = taps.first + out;
    double *exact = (double *)(void *)(taps.count + out); // of one output
    taps.weight = (int32_t *)(void *)(exact + taps.most);
    for (int64_t i = 0; i < out; i++) {
        double center = ((double)i + 0.5) * scale, total = 0;
        int64_t first = (int64_t)(center - support + 0.5), end = (int64_t)(center + support + 0.5);
        first = first < 0 ? 0 : first;
        end = end > in ? in : end;
        for (int64_t k = 0; k < end - first; k++) {
            exact[k] =
                filter_weight(filter, ((double)(k + first) - center + 0.5) * (1.0 / stretch));
            total += exact[k];
        }
        for (int64_t k = 0; k < end - first; k++) {
            double weight = exact[k] * (total != 0 ? 1 / total : 1) * (1 << WEIGHT_BITS);
            taps.weight[i * taps.most + k] = (int32_t)(weight < 0 ? weight - 0.5 : weight + 0.5);
        }
        taps.first[i] = first;
        taps.count[i] = end - first;
    }
    return taps;
}

/// Filters `count` outputs along one axis. Elements of the axis lie `in_step` and `out_step` apart.
static void resize_line(const Taps *taps, int64_t count, const uint8_t *in, int64_t in_step,
                        uint8_t *out, int64_t out_step) {
    for (int64_t i = 0; i < count; i++) {
        const uint8_t *from = in + taps->first[i] * in_step;
        const int32_t *weight = taps->weight + i * taps->most;
        int64_t sum = 1 << (WEIGHT_BITS - 1);
        for (int64_t k = 0; k < taps->count[i]; k++)
            sum += (int64_t)from[k * in_step] * weight[k];
        sum >>= WEIGHT_BITS;
        out[i * out_step] = (uint8_t)(sum < 0 ? 0 : sum > 255 ? 255 : sum);
    }
}

int64_t kdrt_image_resize_bytes(int64_t channels, int64_t in_height, int64_t in_width,
                                int64_t out_height, int64_t out_width) {
    const int64_t most = (int64_t)1 << 20;
    if (in_height > most || in_width > most || out_height > most || out_width > most)
        return -1;
    return channels * in_height * out_width + 8 + taps_bytes(in_height, out_height) +
           taps_bytes(in_width, out_width);
}

void kdrt_image_resize(const Image *in, const Image *out, ImageFilter filter, void *work) {
    Image middle = kdrt_image(work, in->channels, in->height, out->width);
    uint8_t *tables = (uint8_t *)work + ((in->channels * middle.plane + 7) & ~(int64_t)7);
    if (in->width == out->width) {
        middle = *in;
    } else {
        Taps taps = make_taps(in->width, out->width, filter, tables);
        for (int64_t c = 0; c < in->channels; c++)
            for (int64_t y = 0; y < in->height; y++)
                resize_line(&taps, out->width, in->at + c * in->plane + y * in->row, 1,
                            middle.at + c * middle.plane + y * middle.row, 1);
    }
    if (in->height == out->height) {
        kdrt_image_copy(&middle, out);
        return;
    }
    Taps taps = make_taps(in->height, out->height, filter, tables);
    for (int64_t c = 0; c < in->channels; c++)
        for (int64_t x = 0; x < out->width; x++)
            resize_line(&taps, out->height, middle.at + c * middle.plane + x, middle.row,
                        out->at + c * out->plane + x, out->row);
}

// ---- affine maps --------------------------------------------------------------------------------

static void put(const Image *in, const Image *out, int64_t x, int64_t y, int64_t from_x,
                int64_t from_y, const uint8_t *fill) {
    bool inside = from_x >= 0 && from_x < in->width && from_y >= 0 && from_y < in->height;
    for (int64_t c = 0; c < in->channels; c++)
        out->at[c * out->plane + y * out->row + x] =
            inside ? in->at[c * in->plane + from_y * in->row + from_x] : fill[c];
}

/// To 2^-16 pixels, halves up.
static int64_t fixed(double x) {
    return (int64_t)floor(x * 65536.0 + 0.5);
}

static int64_t to_pixel(double x) {
    return x < 0 ? -1 : (int64_t)x;
}

static void scale_and_shift(const Image *in, const Image *out, const double map[6],
                            const uint8_t *fill) {
    double from_y = map[5] + map[4] * 0.5;
    for (int64_t y = 0; y < out->height; y++, from_y += map[4]) {
        double from_x = map[2] + map[0] * 0.5;
        for (int64_t x = 0; x < out->width; x++, from_x += map[0])
            put(in, out, x, y, to_pixel(from_x), to_pixel(from_y), fill);
    }
}

void kdrt_image_affine(const Image *in, const Image *out, const double map[6],
                       const uint8_t *fill) {
    if (map[1] == 0 && map[3] == 0) {
        scale_and_shift(in, out, map, fill);
        return;
    }
    int64_t x_of_row = fixed(map[2] + map[0] * 0.5 + map[1] * 0.5);
    int64_t y_of_row = fixed(map[5] + map[3] * 0.5 + map[4] * 0.5);
    for (int64_t y = 0; y < out->height; y++) {
        int64_t from_x = x_of_row, from_y = y_of_row;
        for (int64_t x = 0; x < out->width; x++) {
            put(in, out, x, y, from_x >> 16, from_y >> 16, fill);
            from_x += fixed(map[0]);
            from_y += fixed(map[3]);
        }
        x_of_row += fixed(map[1]);
        y_of_row += fixed(map[4]);
    }
}

void kdrt_image_rotate(const Image *in, const Image *out, double degrees, const uint8_t *fill) {
    double angle = -degrees * (acos(-1.0) / 180), x = (double)in->width / 2;
    double y = (double)in->height / 2, cosine = cos(angle), sine = sin(angle);
    double map[6] = {cosine, sine,   x - cosine * x - sine * y,
                     -sine,  cosine, y + sine * x - cosine * y};
    if (degrees == 0)
        kdrt_image_copy(in, out);
    else
        kdrt_image_affine(in, out, map, fill);
}
