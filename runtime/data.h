/// Data sets: sources (files to columns of bytes), transforms of pixels, and the loader that turns
/// both into batches on a thread of its own.
#ifndef KDC_RUNTIME_DATA_H
#define KDC_RUNTIME_DATA_H

#include "runtime/image.h"
#include "runtime/program.h"

// ---- sources ------------------------------------------------------------------------------------

/// A column of image files, three channels each. It is the first of its part, `label` (i32) the
/// second.
typedef struct ImageFile {
    const char *path;
    int64_t height, width; // 0: not looked at
} ImageFile;
typedef struct ImageFiles {
    ImageFile *at;
    int64_t most_bytes; // of a file
} ImageFiles;

/// One field of all examples of a part, as the files have it. Row i is at data + i * stride_bytes.
typedef struct FileColumn {
    const char *name;
    Dtype dtype; // u8 or i32, native byte order
    int64_t rank;
    int64_t shape[MAX_RANK]; // of one example
    const uint8_t *data;     // NULL when only headers were read
    int64_t stride_bytes;
    ImageFiles *images;  // in place of `data`; extents that are not the same for all are -1
    const char *path;    // for messages: the file, and
    int64_t file_offset; // where row 0 lies in its (unpacked) content
} FileColumn;

typedef struct FilePart {
    int64_t count;
    int64_t column_count;
    FileColumn column[KDRT_MAX_FIELDS];
} FilePart;

typedef struct Files {
    FilePart train, test; // a source without parts is all `train`
    int64_t classes;      // by the labels, or by the format; 0: no labels
} Files;

typedef struct SourceRequest {
    Env *env;
    Arena *arena; // what the columns point into
    const char *path;
    bool headers_only; // leave out what only training needs
} SourceRequest;

/// A row of sources.def: reads files into columns. Errors name file, byte offset and remedy.
bool kdrt_source_open(const char *source, const SourceRequest *request, Files *files,
                      KdrtError *error);

typedef struct IdxLimits {
    int64_t most_bytes; // of unpacked elements
    bool header_only;
} IdxLimits;

typedef struct IdxArray {
    int64_t rank;
    int64_t shape[MAX_RANK];
    int64_t header_bytes;
    const uint8_t *data; // u8, row-major; points into `bytes` where they are not compressed
    int64_t size_bytes;
} IdxArray;

/// Reads an IDX file of unsigned bytes, plain or gzip. A pure function of its arguments; all memory
/// is the arena's. Errors name the offset, not the file.
bool kdrt_idx_read(Bytes bytes, const IdxLimits *limits, Arena *arena, IdxArray *array,
                   KdrtError *error);

/// Height and width of a PNG or JPEG file, told by its content; its first bytes are enough. Pure.
bool kdrt_image_extents(Bytes bytes, int64_t *height, int64_t *width, KdrtError *error);
/// The pixels of a PNG or JPEG file, three channels. Its extents must be those of `out`; `work`
/// holds as many bytes as `out`. Weak: a binary has it only if its program reads images.
bool kdrt_image_decode(Bytes bytes, const Image *out, uint8_t *work, KdrtError *error)
    __attribute__((weak));

// The readers behind the rows of sources.def.
#define SOURCE(name, text)                                                                         \
    bool kdrt_source_##name(const SourceRequest *request, Files *files, KdrtError *error);
#include "runtime/sources.def"
#undef SOURCE

// ---- transforms ---------------------------------------------------------------------------------

typedef enum TransformKind {
#define TRANSFORM(name, parameters, text) TRANSFORM_##name,
#include "runtime/transforms.def"
#undef TRANSFORM
    TRANSFORM_COUNT
} TransformKind;

/// One step of augmentation or preparation, over u8 pixels [C, H, W].
typedef struct Transform {
    TransformKind kind;
    int64_t pad, size[2]; // [height, width]; 0: as they come
    bool one_size;        // `size` was one number
    bool reflect;
    ImageFilter filter;
    double probability, scale[2], ratio[2], jitter[4];
    int64_t fill_count;
    uint8_t fill[IMAGE_MAX_CHANNELS];
} Transform;

/// Words of randomness, for one transform of one example: the blocks of Philox whose counters are
/// `counter` and those that lie DRAW_BLOCK further on in counter[1]. `left` is 0 at first.
enum { MOST_TRANSFORMS = 64, DRAW_BLOCK = 1 << 8, DRAW_VIEW = 1 << 16 };
typedef struct Draws {
    uint32_t key[2], counter[4], word[4];
    int left; // of `word`
} Draws;
uint32_t kdrt_draw(Draws *draws);

/// Reads and checks a transform's arguments.
bool kdrt_transform_bind(const TransformSpec *spec, Transform *transform, KdrtError *error);
/// What it makes of images of these extents (channels, height, width); -1: not the same for all.
bool kdrt_transform_extents(const Transform *transform, const int64_t in[3], int64_t out[3],
                            KdrtError *error);
/// The room that it works in, for an image of these extents; grows with each of them. -1: the image
/// is too large.
int64_t kdrt_transform_work_bytes(const Transform *transform, const int64_t in[3],
                                  const int64_t out[3]);
/// `out` has the extents that kdrt_transform_extents() tells, and is not the memory of `in`.
void kdrt_transform_apply(const Transform *transform, const Image *in, const Image *out,
                          Draws *draws, void *work);

// ---- data sets ----------------------------------------------------------------------------------

typedef struct Pipeline {
    int64_t count;
    Transform *transform;
} Pipeline;

/// Room for an example on its way through a pipeline: what lies between two transforms, what one of
/// them works in, and a file that is decoded.
typedef struct Room {
    int64_t image_bytes, work_bytes, file_bytes;
} Room;

/// A field of the manifest bound to a column, or to the example's place (`index`).
typedef struct FieldBinding {
    const Field *field;
    int column;          // in FilePart; -1: the index
    bool is_pixels;      // u8 [C, H, W] to real by way of a pipeline and a table
    int64_t pixel_count; // H * W, after the pipeline
    int64_t channels;
    uint32_t stream; // added to that of its draws: views draw for themselves
    void *table; // [channels][256] of the field's dtype
    Pipeline augment, prepare;
} FieldBinding;

typedef struct DataView {
    const FilePart *files;
    int64_t first, count;
} DataView;

typedef struct Dataset {
    const DataSpec *spec;
    Files files;
    DataView part[4]; // by Part; PART_DEFAULT: test, or all where there is no test part
    FieldBinding *field;
    Room room; // for the largest of its examples
} Dataset;

/// Opens the data of `spec` (at `path`) and checks that it is what the program was compiled for.
bool kdrt_dataset_open(Env *env, Arena *arena, const DataSpec *spec, const char *path,
                       Dataset *dataset, KdrtError *error);
/// The field's index, or -1.
int64_t kdrt_dataset_field(const Dataset *dataset, const char *name);

// ---- the loader ---------------------------------------------------------------------------------

/// One pass over a part.
typedef struct LoaderJob {
    const Dataset *dataset;
    Part part;
    bool training; // shuffled and augmented; else in order and prepared
    bool drop_last;
    uint64_t seed;
    int64_t phase, epoch;
    int64_t batch;
    int64_t first_batch; // where to go on
    uint64_t fields;     // bit i: field i is wanted
} LoaderJob;

typedef struct Batch {
    int64_t count;
    const void *field[64]; // by field of the data set; NULL: not wanted
} Batch;

typedef struct Loader Loader;

/// `slot_bytes` bounds a batch (kdrt_loader_slot_bytes()), `most_examples` a part. `threads` make
/// batches, at most LOADER_MOST_THREADS.
enum { LOADER_MOST_THREADS = 4 };
Loader *kdrt_loader_open(Env *env, int64_t slot_bytes, int64_t most_examples, Room room,
                         int64_t threads, KdrtError *error);
int64_t kdrt_loader_slot_bytes(const Dataset *dataset, int64_t batch);
/// Begins a pass; one that was under way is dropped.
void kdrt_loader_start(Loader *loader, const LoaderJob *job);
/// The next batch, or NULL at the end and when a file cannot be read, which sets `error`. Its
/// memory is the caller's until the next call.
const Batch *kdrt_loader_next(Loader *loader, KdrtError *error);
void kdrt_loader_close(Loader *loader);

/// Batches of a pass, and the examples of batch `index`.
int64_t kdrt_batch_count(int64_t examples, int64_t batch, bool drop_last);

/// The order of `count` examples: a permutation that is a function of seed, phase and epoch alone.
void kdrt_shuffle(int64_t *order, int64_t count, uint64_t seed, int64_t phase, int64_t epoch);

#endif
