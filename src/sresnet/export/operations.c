#include <math.h>
#include <string.h>

/* [C, H, W] to [H, W, C]. */
static void pixel_by_pixel(const float *x, float *y, int channels, int height, int width) {
    for (int c = 0; c < channels; c++)
        for (int p = 0; p < height * width; p++) y[p * channels + c] = x[c * height * width + p];
}

/* [H, W, C] to [C, H, W]. */
static void channel_by_channel(const float *x, float *y, int channels, int height, int width) {
    for (int p = 0; p < height * width; p++)
        for (int c = 0; c < channels; c++) y[c * height * width + p] = x[p * channels + c];
}

/* 0, or NaN where an input is not finite, which silent neurons would hide. */
static void zero_or_nan(const float *x, int length, float *y) {
    *y = 0.0f;
    for (int i = 0; i < length; i++) *y += 0.0f * x[i];
}

/* Each input that is not 0 adds a row of weights to each pixel that it reaches. */
static void convolve(const float *x, int channels, int height, int width, const float *weight, const float *bias,
                     float *y, int outputs, int out_height, int out_width, int kernel_height, int kernel_width,
                     int stride_y, int stride_x, int padding_y, int padding_x, int dilation_y, int dilation_x,
                     int groups) {
    const int inputs = channels / groups, made = outputs / groups, taps = kernel_height * kernel_width;
    for (int p = 0; p < out_height * out_width; p++)
        for (int o = 0; o < outputs; o++) y[p * outputs + o] = bias ? bias[o] : 0.0f;
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++)
            for (int c = 0; c < channels; c++) {
                const float value = x[(row * width + column) * channels + c];
                if (value == 0.0f) continue;
                for (int i = 0; i < kernel_height; i++) {
                    const int above = row + padding_y - i * dilation_y;
                    if (above < 0 || above % stride_y || above / stride_y >= out_height) continue;
                    for (int j = 0; j < kernel_width; j++) {
                        const int left = column + padding_x - j * dilation_x;
                        if (left < 0 || left % stride_x || left / stride_x >= out_width) continue;
                        const float *w = weight + (c * taps + i * kernel_width + j) * made;
                        float *out = y + (above / stride_y * out_width + left / stride_x) * outputs + c / inputs * made;
                        if (value == 1.0f)
                            for (int o = 0; o < made; o++) out[o] += w[o];
                        else
                            for (int o = 0; o < made; o++) out[o] += value * w[o];
                    }
                }
            }
}

/* Each input that is not 0 adds its weights to all outputs. */
static void multiply(const float *x, int inputs, const float *weight, const float *bias, float *y, int outputs) {
    for (int o = 0; o < outputs; o++) y[o] = bias ? bias[o] : 0.0f;
    for (int i = 0; i < inputs; i++) {
        if (x[i] == 0.0f) continue;
        for (int o = 0; o < outputs; o++) y[o] += x[i] * weight[i * outputs + o];
    }
}

/* A whole number of four or eight bits; those of four are two in a byte, the first in the lower half. */
static int whole_number(const signed char *numbers, int at, int bits) {
    return bits == 8 ? numbers[at] : ((numbers[at / 2] >> 4 * (at % 2) & 15) ^ 8) - 8;
}

/* Each input that is not 0 adds a row of whole numbers to each pixel that it reaches; they are scaled after. */
static void convolve_integers(const float *x, int channels, int height, int width, const signed char *weight, int start,
                     int bits, float *y, int outputs, int out_height, int out_width, int kernel_height, int kernel_width,
                     int stride_y, int stride_x, int padding_y, int padding_x, int dilation_y, int dilation_x,
                     int groups) {
    const int inputs = channels / groups, made = outputs / groups, taps = kernel_height * kernel_width;
    for (int p = 0; p < out_height * out_width; p++)
        for (int o = 0; o < outputs; o++) y[p * outputs + o] = 0.0f;
    for (int row = 0; row < height; row++)
        for (int column = 0; column < width; column++)
            for (int c = 0; c < channels; c++) {
                const float value = x[(row * width + column) * channels + c];
                if (value == 0.0f) continue;
                for (int i = 0; i < kernel_height; i++) {
                    const int above = row + padding_y - i * dilation_y;
                    if (above < 0 || above % stride_y || above / stride_y >= out_height) continue;
                    for (int j = 0; j < kernel_width; j++) {
                        const int left = column + padding_x - j * dilation_x;
                        if (left < 0 || left % stride_x || left / stride_x >= out_width) continue;
                        const int row_start = start + (c * taps + i * kernel_width + j) * made;
                        float *out = y + (above / stride_y * out_width + left / stride_x) * outputs + c / inputs * made;
                        if (value == 1.0f)
                            for (int o = 0; o < made; o++) out[o] += (float)whole_number(weight, row_start + o, bits);
                        else
                            for (int o = 0; o < made; o++) out[o] += value * (float)whole_number(weight, row_start + o, bits);
                    }
                }
            }
}

/* Each input that is not 0 adds its whole numbers to all outputs, which are scaled after. */
static void multiply_integers(const float *x, int inputs, const signed char *weight, int bits, float *y, int outputs) {
    for (int o = 0; o < outputs; o++) y[o] = 0.0f;
    for (int i = 0; i < inputs; i++) {
        if (x[i] == 0.0f) continue;
        for (int o = 0; o < outputs; o++) y[o] += x[i] * (float)whole_number(weight, i * outputs + o, bits);
    }
}

/* A gain of each channel, and a shift of each channel or number. */
static void scale(const float *x, int length, int channels, const float *gain, const float *shift, int shifts,
                  float *y) {
    for (int i = 0; i < length; i++) y[i] = gain[i % channels] * x[i] + (shift ? shift[i % shifts] : 0.0f);
}

/* Neurons: the potential leaks, takes the current, and loses the threshold, or all, with a spike. */
static void fire(const float *x, int length, float *v, float leak, float gain, float threshold, int to_zero,
                 int at_threshold, float *y) {
    for (int i = 0; i < length; i++) {
        const float u = leak * v[i] + gain * x[i];
        const int spike = at_threshold ? u >= threshold : u > threshold;
        y[i] = (float)spike;
        v[i] = !spike ? u : to_zero ? 0.0f : u - threshold;
    }
}

/* Few-spikes neurons: so many spikes within one time step. */
static void fire_few(const float *x, int length, const float *threshold, const float *reset, const float *height,
                     int steps, int at_threshold, float *y) {
    for (int i = 0; i < length; i++) {
        float v = x[i], sent = 0.0f;
        for (int k = 0; k < steps; k++)
            if (at_threshold ? v >= threshold[k] : v > threshold[k]) {
                sent += height[k];
                v -= reset[k];
            }
        y[i] = sent;
    }
}

/* max(0, x), up to a limit. */
static void rectify(const float *x, int length, float limit, float *y) {
    for (int i = 0; i < length; i++) y[i] = x[i] < 0.0f ? 0.0f : x[i] > limit ? limit : x[i];
}

/* 1 / (1 + exp(-x)). */
static void sigmoid(const float *x, int length, float limit, float *y) {
    (void)limit;
    for (int i = 0; i < length; i++) y[i] = 1.0f / (1.0f + expf(-x[i]));
}

/* tanh(x). */
static void tangent(const float *x, int length, float limit, float *y) {
    (void)limit;
    for (int i = 0; i < length; i++) y[i] = tanhf(x[i]);
}

/* x / (1 + exp(-x)). */
static void silu(const float *x, int length, float limit, float *y) {
    (void)limit;
    for (int i = 0; i < length; i++) y[i] = x[i] / (1.0f + expf(-x[i]));
}

/* 1 where x is at least 1/2. */
static void step_half(const float *x, int length, float limit, float *y) {
    (void)limit;
    for (int i = 0; i < length; i++) y[i] = (float)(x[i] >= 0.5f);
}

/* The first part of a sum. */
static void start_sum(const float *x, float factor, int length, float *y) {
    for (int i = 0; i < length; i++) y[i] = factor * x[i];
}

/* One more part of it. */
static void add(const float *x, float factor, int length, float *y) {
    for (int i = 0; i < length; i++) y[i] += factor * x[i];
}

/* Spikes of a block and of its skip, joined: a * b, or (1 - a) * b. */
static void join(const float *a, const float *b, int length, int inverted, float *y) {
    for (int i = 0; i < length; i++) y[i] = (inverted ? 1.0f - a[i] : a[i]) * b[i];
}

/* The largest value of each window. */
static void pool_max(const float *x, int channels, int height, int width, float *y, int outputs, int out_height,
                     int out_width, int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y,
                     int padding_x) {
    for (int row = 0; row < out_height; row++)
        for (int column = 0; column < out_width; column++)
            for (int c = 0; c < outputs; c++) {
                float largest = -HUGE_VALF;
                for (int i = 0; i < kernel_height; i++)
                    for (int j = 0; j < kernel_width; j++) {
                        const int above = row * stride_y - padding_y + i, left = column * stride_x - padding_x + j;
                        if (above < 0 || above >= height || left < 0 || left >= width) continue;
                        const float value = x[(above * width + left) * channels + c];
                        if (value > largest) largest = value;
                    }
                y[(row * out_width + column) * outputs + c] = largest;
            }
}

/* The average of each window: of what lies inside the image and the zeros around it. */
static void pool_avg(const float *x, int channels, int height, int width, float *y, int outputs, int out_height,
                     int out_width, int kernel_height, int kernel_width, int stride_y, int stride_x, int padding_y,
                     int padding_x) {
    for (int row = 0; row < out_height; row++)
        for (int column = 0; column < out_width; column++)
            for (int c = 0; c < outputs; c++) {
                float total = 0.0f;
                int count = 0;
                for (int i = 0; i < kernel_height; i++)
                    for (int j = 0; j < kernel_width; j++) {
                        const int above = row * stride_y - padding_y + i, left = column * stride_x - padding_x + j;
                        if (above >= height + padding_y || left >= width + padding_x) continue;
                        count++;
                        if (above >= 0 && above < height && left >= 0 && left < width)
                            total += x[(above * width + left) * channels + c];
                    }
                y[(row * out_width + column) * outputs + c] = total / (float)count;
            }
}

/* The average of each channel. */
static void average(const float *x, int channels, int height, int width, float *y) {
    for (int c = 0; c < channels; c++) {
        float total = 0.0f;
        for (int p = 0; p < height * width; p++) total += x[p * channels + c];
        y[c] = total / (float)(height * width);
    }
}

/* Every second, ... pixel. */
static void pick(const float *x, int channels, int height, int width, int every, float *y, int outputs, int out_height,
                 int out_width) {
    (void)height;
    for (int row = 0; row < out_height; row++)
        for (int column = 0; column < out_width; column++)
            for (int c = 0; c < outputs; c++)
                y[(row * out_width + column) * outputs + c] = x[(row * every * width + column * every) * channels + c];
}
