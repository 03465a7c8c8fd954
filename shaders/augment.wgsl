// Random flips and shifts of the images of a batch: out(c, i, j) = f(c, i - down, j - right) with f = x, or x mirrored, and 0 where f has no
// such pixel. The moves of an image are a pure function of its row and a key of two words, in integers, so that they are the same on every
// device and need no memory. `src/reference/augment.rs` defines them, `src/reference/dropout.rs` says where the hash comes from.
//
// Values are copied as bits, so that every one, a NaN too, arrives as it is.
//
// Bytes per output: 8. About 30 integer operations per invocation, so memory decides: an invocation has four neighbours of a line (or one
// pixel, where lines are not whole vectors), stored as one vector. Its four loads are neighbours too, though seldom a vector of their own.
//
// Constants: VECTOR (1: a value is four neighbouring pixels, 0: it is one).

struct Params {
    // All that there is to do.
    items: u32,
    // In a line of an image.
    values: u32,
    channels: u32,
    height: u32,
    width: u32,
    flip: u32,
    shift: u32,
    first_word: u32,
    second_word: u32,
}

@group(0) @binding(0) var<storage, read> x: array<u32>;
//! unroll i 0..VECTOR
@group(0) @binding(1) var<storage, read_write> out: array<vec4<u32>>;
//! end
//! unroll i VECTOR..1
@group(0) @binding(1) var<storage, read_write> out: array<u32>;
//! end
@group(1) @binding(0) var<uniform> params: Params;

fn spread(value: u32) -> u32 {
    var x = value;
    x ^= x >> 16u;
    x *= 0x7feb352du;
    x ^= x >> 15u;
    x *= 0x846ca68bu;
    return x ^ (x >> 16u);
}

// The pixel that moves to column `column` of a line that begins at `line`, by bits.
fn pixel(line: u32, column: u32, right: u32, flip: bool) -> u32 {
    // Columns left of the image wrap to large numbers.
    let source = column - right;
    if source >= params.width { return 0u; }
    return x[line + select(source, params.width - 1u - source, flip)];
}

@compute @workgroup_size(64)
fn augment(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let item = linear_index(group, groups) * 64u + lane;
    if item >= params.items { return; }
    let column = item % params.values;
    let line = item / params.values;
    let plane = line / params.height;
    let image = plane / params.channels;
    let drawn = spread(spread(image ^ params.first_word) + params.second_word);
    let moves = 2u * params.shift + 1u;
    // Differences of unsigned numbers: moves up and left wrap.
    let down = ((((drawn >> 16u) & 0x7fffu) * moves) >> 15u) - params.shift;
    let right = (((drawn & 0xffffu) * moves) >> 16u) - params.shift;
    let flip = params.flip == 1u && (drawn >> 31u) == 1u;
    let row = line % params.height - down;
    let inside = row < params.height;
    let start = (plane * params.height + select(0u, row, inside)) * params.width;
    //! unroll i 0..VECTOR
    var value = vec4(0u);
    if inside {
        let first = 4u * column;
        value = vec4(
            pixel(start, first, right, flip),
            pixel(start, first + 1u, right, flip),
            pixel(start, first + 2u, right, flip),
            pixel(start, first + 3u, right, flip),
        );
    }
    //! end
    //! unroll i VECTOR..1
    var value = 0u;
    if inside { value = pixel(start, column, right, flip); }
    //! end
    out[item] = value;
}
