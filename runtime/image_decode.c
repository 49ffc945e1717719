// runtime/image_decode.c -- PNG and JPEG files to pixels: the only file that knows libpng and
// libjpeg. A training binary holds it where its program reads image folders (codegen/link.c).
//
// Pixels are as Pillow's convert("RGB") has them: grey is copied to three channels, alpha dropped,
// 16 bits become 8, palettes are looked up. Whatever is wrong with a file is a message; the
// libraries jump back here instead of ending the process.
#include "runtime/data.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdio.h>
#include <string.h>

#include <jpeglib.h>
#include <png.h>

#include <jerror.h>

/// `from` is [H, W, channels]; one channel is copied to all three.
static void to_planes(const uint8_t *from, int64_t channels, const Image *out) {
    for (int64_t c = 0; c < 3; c++)
        for (int64_t y = 0; y < out->height; y++)
            for (int64_t x = 0; x < out->width; x++)
                out->at[c * out->plane + y * out->row + x] =
                    from[(y * out->width + x) * channels + (channels == 3 ? c : 0)];
}

static bool check_extents(int64_t height, int64_t width, const Image *out, KdrtError *error) {
    return (height == out->height && width == out->width) ||
           kdrt_fail(error, STATUS_WORLD,
                     "%" PRId64 " x %" PRId64 " pixels; it had %" PRId64 " x %" PRId64
                     " when the run began",
                     height, width, out->height, out->width);
}

// ---- PNG ----------------------------------------------------------------------------------------

typedef struct PngInput {
    Bytes left;
    KdrtError *error;
} PngInput;

static void png_input(png_structp png, png_bytep to, size_t length) {
    PngInput *input = png_get_io_ptr(png);
    if (length > input->left.length)
        png_error(png, "the file is truncated");
    memcpy(to, input->left.at, length);
    input->left.at += length;
    input->left.length -= length;
}

static void png_failed(png_structp png, const char *message) {
    PngInput *input = png_get_error_ptr(png);
    kdrt_fail(input->error, STATUS_WORLD, "the PNG data is damaged (%s)", message);
    longjmp(png_jmpbuf(png), 1);
}

static void png_warned(png_structp png, const char *message) {
    (void)png, (void)message; // chunks about colour and text, which are not used
}

static bool decode_png(png_structp png, png_infop info, PngInput *input, const Image *out,
                       uint8_t *work, KdrtError *error) {
    if (setjmp(png_jmpbuf(png)))
        return false;
    png_set_read_fn(png, input, png_input);
    png_set_user_limits(png, 1 << 26, 1 << 26);
    png_read_info(png, info);
    if (!check_extents(png_get_image_height(png, info), png_get_image_width(png, info), out, error))
        return false;
    png_set_scale_16(png);
    png_set_expand(png); // palettes, fewer than 8 bits, transparent colours
    png_set_strip_alpha(png);
    int passes = png_set_interlace_handling(png);
    png_read_update_info(png, info);
    int64_t channels = png_get_channels(png, info);
    for (int pass = 0; pass < passes; pass++)
        for (int64_t y = 0; y < out->height; y++)
            png_read_row(png, work + y * out->width * channels, NULL);
    png_read_end(png, NULL);
    to_planes(work, channels, out);
    return true;
}

static bool read_png(Bytes bytes, const Image *out, uint8_t *work, KdrtError *error) {
    PngInput input = {bytes, error};
    png_structp png = png_create_read_struct(PNG_LIBPNG_VER_STRING, &input, png_failed, png_warned);
    png_infop info = png ? png_create_info_struct(png) : NULL;
    bool ok =
        info ? decode_png(png, info, &input, out, work, error) : kdrt_fail_memory(error, 1 << 16);
    png_destroy_read_struct(png ? &png : NULL, info ? &info : NULL, NULL);
    return ok;
}

// ---- JPEG ---------------------------------------------------------------------------------------

typedef struct JpegErrors {
    struct jpeg_error_mgr base;
    jmp_buf back;
    KdrtError *error;
} JpegErrors;

static void jpeg_failed(j_common_ptr jpeg) {
    JpegErrors *errors = (JpegErrors *)(void *)jpeg->err;
    char message[JMSG_LENGTH_MAX];
    errors->base.format_message(jpeg, message);
    kdrt_fail(errors->error, STATUS_WORLD, "the JPEG data is damaged (%s)", message);
    longjmp(errors->back, 1);
}

/// Warnings are about data that is missing or makes no sense: the picture would be half grey. Bytes
/// too many between two segments do no harm, and some of ImageNet's files have them.
static void jpeg_warned(j_common_ptr jpeg, int level) {
    if (level < 0 && jpeg->err->msg_code != JWRN_EXTRANEOUS_DATA)
        jpeg_failed(jpeg);
}

static bool decode_jpeg(struct jpeg_decompress_struct *jpeg, JpegErrors *errors, Bytes bytes,
                        const Image *out, uint8_t *work) {
    if (setjmp(errors->back))
        return false;
    jpeg_mem_src(jpeg, bytes.at, (unsigned long)bytes.length);
    jpeg_read_header(jpeg, TRUE);
    if (!check_extents(jpeg->image_height, jpeg->image_width, out, errors->error))
        return false;
    bool grey = jpeg->jpeg_color_space == JCS_GRAYSCALE;
    jpeg->out_color_space = grey ? JCS_GRAYSCALE : JCS_RGB;
    jpeg->dct_method = JDCT_ISLOW;
    jpeg_start_decompress(jpeg);
    int64_t channels = grey ? 1 : 3;
    while (jpeg->output_scanline < jpeg->output_height) {
        JSAMPROW row = work + (int64_t)jpeg->output_scanline * out->width * channels;
        jpeg_read_scanlines(jpeg, &row, 1);
    }
    jpeg_finish_decompress(jpeg);
    to_planes(work, channels, out);
    return true;
}

static bool read_jpeg(Bytes bytes, const Image *out, uint8_t *work, KdrtError *error) {
    struct jpeg_decompress_struct jpeg = {0};
    JpegErrors errors = {.error = error};
    jpeg.err = jpeg_std_error(&errors.base);
    errors.base.error_exit = jpeg_failed;
    errors.base.emit_message = jpeg_warned;
    if (setjmp(errors.back)) { // of jpeg_create_decompress()
        jpeg_destroy_decompress(&jpeg);
        return false;
    }
    jpeg_create_decompress(&jpeg);
    bool ok = decode_jpeg(&jpeg, &errors, bytes, out, work);
    jpeg_destroy_decompress(&jpeg);
    return ok;
}

bool kdrt_image_decode(Bytes bytes, const Image *out, uint8_t *work, KdrtError *error) {
    int64_t height, width;
    if (!kdrt_image_extents(bytes, &height, &width, error) ||
        !check_extents(height, width, out, error))
        return false;
    return bytes.at[0] == 0x89 ? read_png(bytes, out, work, error)
                               : read_jpeg(bytes, out, work, error);
}
