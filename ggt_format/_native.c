/* Undo the PNG filters None, Sub and Up for a window of columns, all rows of a band in one call.

   numpy does the same in ggt_format/png.py, which is the reference. This module is optional: the package works without
   it. It uses the stable ABI where the Python that builds it offers the buffer protocol there (3.11 and later). */

#define PY_SSIZE_T_CLEAN
#include <Python.h>
#include <string.h>

#define BLOCK 48 /* bytes: 16 pixels, so that a compiler can add a block with vector instructions */

/* Write the sums of the `count` pixels at `coded`, for each channel modulo 256, to `sums`. */
static void
sum_pixels(const unsigned char *coded, Py_ssize_t count, unsigned char sums[3])
{
    unsigned char lanes[BLOCK] = {0};
    Py_ssize_t size = 3 * count, whole = size - size % BLOCK, at;
    int lane;
    for (at = 0; at < whole; at += BLOCK) {
        for (lane = 0; lane < BLOCK; lane++) {
            lanes[lane] = (unsigned char)(lanes[lane] + coded[at + lane]);
        }
    }
    for (lane = 0; lane < (int)(size - whole); lane++) {
        lanes[lane] = (unsigned char)(lanes[lane] + coded[whole + lane]);
    }
    sums[0] = sums[1] = sums[2] = 0;
    for (lane = 0; lane < BLOCK; lane++) {
        sums[lane % 3] = (unsigned char)(sums[lane % 3] + lanes[lane]);
    }
}

/* Undo the filter Sub for `count` pixels at `coded`, with `before` as the pixel to their left. */
static void
undo_sub(const unsigned char *coded, Py_ssize_t count, const unsigned char before[3], unsigned char *out)
{
    unsigned char red = before[0], green = before[1], blue = before[2];
    Py_ssize_t pixel;
    for (pixel = 0; pixel < count; pixel++, coded += 3, out += 3) {
        out[0] = red = (unsigned char)(red + coded[0]);
        out[1] = green = (unsigned char)(green + coded[1]);
        out[2] = blue = (unsigned char)(blue + coded[2]);
    }
}

/* Undo the filter Up for `size` bytes. `above` may be `out` itself. */
static void
undo_up(const unsigned char *coded, Py_ssize_t size, const unsigned char *above, unsigned char *out)
{
    Py_ssize_t at;
    for (at = 0; at < size; at++) {
        out[at] = (unsigned char)(coded[at] + above[at]);
    }
}

/* Undo `rows` rows. Rows before `skip` and row `skip` itself share the first row of `out`: each overwrites the one
   above it. Return 0, or -1 at a filter that is not None, Sub or Up, or at an Up in the first row of a band. */
static int
undo_rows(const unsigned char *lines, Py_ssize_t image_width, Py_ssize_t rows, Py_ssize_t band_rows, Py_ssize_t skip,
          Py_ssize_t left, Py_ssize_t width, unsigned char *out)
{
    Py_ssize_t size = 3 * width, row;
    unsigned char *above = out;
    for (row = 0; row < rows; row++, lines += 1 + 3 * image_width) {
        const unsigned char *coded = lines + 1 + 3 * left;
        unsigned char *to = row <= skip ? out : above + size;
        unsigned char before[3];
        switch (lines[0]) {
        case 0:
            memcpy(to, coded, (size_t)size);
            break;
        case 1:
            sum_pixels(lines + 1, left, before);
            undo_sub(coded, width, before, to);
            break;
        case 2:
            if (row % band_rows == 0) {
                return -1;
            }
            undo_up(coded, size, above, to);
            break;
        default:
            return -1;
        }
        above = to;
    }
    return 0;
}

PyDoc_STRVAR(undo_filters_doc,
"undo_filters(lines, image_width, rows, band_rows, skip, left, width, out, out_row)\n--\n\n"
"Undo the filters of the first `rows` rows of `lines`, and write `width` columns from `left` on to `out`.\n\n"
"The first `skip` rows are undone and not kept; the others go to `out` from its row `out_row` on. Raises ValueError\n"
"where the numbers do not fit the buffers, and where a row has a filter that a band must not hold there.");

static PyObject *
undo_filters(PyObject *module, PyObject *args)
{
    Py_buffer lines, out;
    Py_ssize_t image_width, rows, band_rows, skip, left, width, out_row;
    const Py_ssize_t most = PY_SSIZE_T_MAX / 16;
    int fits, result = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*nnnnnnw*n", &lines, &image_width, &rows, &band_rows, &skip, &left, &width, &out,
                          &out_row)) {
        return NULL;
    }
    /* each product is compared by a division, which cannot overflow */
    fits = image_width > 0 && image_width <= most && rows > 0 && band_rows > 0 && skip >= 0 && skip < rows && left >= 0
           && width > 0 && width <= image_width && left <= image_width - width && out_row >= 0;
    fits = fits && rows <= lines.len / (1 + 3 * image_width) && rows - skip <= out.len / (3 * width)
           && out_row <= out.len / (3 * width) - (rows - skip);
    if (fits) {
        Py_BEGIN_ALLOW_THREADS
        result = undo_rows((const unsigned char *)lines.buf, image_width, rows, band_rows, skip, left, width,
                           (unsigned char *)out.buf + out_row * 3 * width);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&lines);
    PyBuffer_Release(&out);
    if (!fits) {
        PyErr_SetString(PyExc_ValueError, "the rows or columns do not fit the buffers");
        return NULL;
    }
    if (result < 0) {
        PyErr_SetString(PyExc_ValueError, "a row has a filter that refers to another band");
        return NULL;
    }
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"undo_filters", undo_filters, METH_VARARGS, undo_filters_doc},
    {NULL, NULL, 0, NULL},
};

static int
add_version(PyObject *module)
{
    return PyModule_AddIntConstant(module, "VERSION", 1);
}

static PyModuleDef_Slot slots[] = {
    {Py_mod_exec, (void *)add_version},
#if !defined(Py_LIMITED_API) && PY_VERSION_HEX >= 0x030D0000
    {Py_mod_multiple_interpreters, Py_MOD_PER_INTERPRETER_GIL_SUPPORTED},
    {Py_mod_gil, Py_MOD_GIL_NOT_USED},
#endif
    {0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_native", "Steps of reading an image for which numpy is too slow.", 0, methods, slots,
    NULL, NULL, NULL,
};

PyMODINIT_FUNC
PyInit__native(void)
{
    return PyModuleDef_Init(&definition);
}
