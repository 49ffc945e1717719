/// u8 pixels and what augmentation does to them. Each operation gives the bytes that Pillow gives
/// (and so torchvision on its images): where the field has two conventions, this is the one.
/// Operations are pure functions; none allocates or draws.
#ifndef KDC_RUNTIME_IMAGE_H
#define KDC_RUNTIME_IMAGE_H

#include <stdbool.h>
#include <stdint.h>

enum { IMAGE_MAX_CHANNELS = 4 };

/// Pixels [C, H, W], a plane for each channel; rows and planes lie `row` and `plane` bytes apart,
/// so a window of an image is an image.
typedef struct Image {
    uint8_t *at;
    int64_t channels, height, width;
    int64_t row, plane;
} Image;

/// The image at `at` without gaps.
Image kdrt_image(uint8_t *at, int64_t channels, int64_t height, int64_t width);
/// The window of `image` whose first pixel is (top, left). It must lie inside.
Image kdrt_image_window(const Image *image, int64_t top, int64_t left, int64_t height,
                        int64_t width);
/// Copies the pixels; the shapes are the same.
void kdrt_image_copy(const Image *in, const Image *out);

// ---- geometry (image.c) -------------------------------------------------------------------------

typedef enum ImageFilter { FILTER_BILINEAR, FILTER_BICUBIC } ImageFilter;

/// Resizes `in` to the extents of `out`, columns first, each pass rounded to bytes. Smaller images
/// are filtered with a support as wide as the factor ("antialias"). bicubic: a = -0.5 (Keys 1981).
/// `work` holds kdrt_image_resize_bytes().
void kdrt_image_resize(const Image *in, const Image *out, ImageFilter filter, void *work);
/// A bound that grows with each extent; -1 where it does not fit.
int64_t kdrt_image_resize_bytes(int64_t channels, int64_t in_height, int64_t in_width,
                                int64_t out_height, int64_t out_width);

/// out(x, y) = in(a x + b y + c, d x + e y + f) of `map` = {a, b, c, d, e, f}, nearest neighbour;
/// pixel centres are at halves. What is outside gets `fill`, a byte for each channel.
void kdrt_image_affine(const Image *in, const Image *out, const double map[6], const uint8_t *fill);
/// Turns counter-clockwise by `degrees` about the centre.
void kdrt_image_rotate(const Image *in, const Image *out, double degrees, const uint8_t *fill);

// ---- colour (image_colour.c) --------------------------------------------------------------------
// One channel is grey, three are red, green, blue. `in` and `out` have one shape and are not the
// same memory. A factor of 1 leaves the image, 0 gives black, grey, a mean grey or a smoothed
// image; more than 1 goes beyond the image.

void kdrt_image_brightness(const Image *in, const Image *out, double factor);
void kdrt_image_saturation(const Image *in, const Image *out, double factor);
void kdrt_image_contrast(const Image *in, const Image *out, double factor);
void kdrt_image_sharpness(const Image *in, const Image *out, double factor);
/// Turns the hue by `turn`, -0.5 to 0.5 of the circle; grey images stay.
void kdrt_image_hue(const Image *in, const Image *out, double turn);
void kdrt_image_grayscale(const Image *in, const Image *out);
void kdrt_image_invert(const Image *in, const Image *out);
/// Keeps the upper `bits` of each byte, 0 to 8.
void kdrt_image_posterize(const Image *in, const Image *out, int bits);
/// Inverts what is not below `threshold`.
void kdrt_image_solarize(const Image *in, const Image *out, double threshold);
/// Stretches each channel so that its darkest is 0 and its brightest 255.
void kdrt_image_autocontrast(const Image *in, const Image *out);
/// Makes the histogram of each channel flat.
void kdrt_image_equalize(const Image *in, const Image *out);

#endif
