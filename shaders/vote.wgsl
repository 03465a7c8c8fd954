// The class that the neighbours of each query elect: the largest sum of weights, a tie to the smallest class.
//
// Bytes per query at least: 4 k labels, 4 k weights where there are any, 4 for the class. Weights are added in
// neighbour order, as the definition adds them, by both variants.
//
// few   k up to 64: an invocation has a query and sums the class of every neighbour over all neighbours, k^2
//       comparisons without a counter per class.
// many  Any k: a workgroup has a query, an invocation a class, or one in 256 of them; all read the k labels together
//       (one broadcast each), 4 a round. The best of the 256 are compared in workgroup memory, 2 KiB.
//
// Paper: many WEIGHTED 0: 2048 bytes, 14 registers, 0.00 operations a byte of workgroup memory, 0.12 of storage, 8 groups
// Paper: many WEIGHTED 1: 2048 bytes, 14 registers, 0.00 operations a byte of workgroup memory, 0.12 of storage, 8 groups
//
// Constant: WEIGHTED (0: every neighbour has one vote, and the weights are not read).

struct Params {
    queries: u32,
    k: u32,
    classes: u32,
}

@group(0) @binding(0) var<storage, read> labels: array<u32>;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> elected: array<u32>;
@group(1) @binding(0) var<uniform> params: Params;

// What neighbour `at` of a query that starts at `first` gives to class `label`.
fn gives(first: u32, at: u32, label: u32) -> f32 {
    if at >= params.k || labels[first + at] != label { return 0.0; }
    if WEIGHTED == 1u { return weights[first + at]; }
    return 1.0;
}

fn better(sum: f32, label: u32, most: f32, best: u32) -> bool {
    return sum > most || (sum == most && label < best);
}

@compute @workgroup_size(64)
fn few(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let query = linear_index(group, groups) * 64u + lane;
    if query >= params.queries { return; }
    let first = query * params.k;
    // As in the definition, classes without votes have none, and label 0 wins among such.
    var best = 0u;
    var most = 0.0;
    for (var i = 0u; i < params.k; i++) {
        let label = labels[first + i];
        var sum = 0.0;
        for (var j = 0u; j < params.k; j++) { sum += gives(first, j, label); }
        if better(sum, label, most, best) {
            most = sum;
            best = label;
        }
    }
    elected[query] = best;
}

var<workgroup> sums: array<f32, 256>;
var<workgroup> classes: array<u32, 256>;

@compute @workgroup_size(256)
fn many(
    @builtin(workgroup_id) group: vec3<u32>,
    @builtin(num_workgroups) groups: vec3<u32>,
    @builtin(local_invocation_index) lane: u32,
) {
    let index = linear_index(group, groups);
    // Surplus groups elect for the last query again, into nothing: barriers need all invocations.
    let first = min(index, params.queries - 1u) * params.k;
    var best = 0u;
    var most = 0.0;
    for (var label = lane; label < params.classes; label += 256u) {
        var sum = 0.0;
        for (var j = 0u; j < params.k; j += 4u) {
            sum += gives(first, j, label);
            sum += gives(first, j + 1u, label);
            sum += gives(first, j + 2u, label);
            sum += gives(first, j + 3u, label);
        }
        if better(sum, label, most, best) {
            most = sum;
            best = label;
        }
    }
    sums[lane] = most;
    classes[lane] = best;
    workgroupBarrier();
    for (var half = 128u; half > 0u; half /= 2u) {
        if lane < half && better(sums[lane + half], classes[lane + half], sums[lane], classes[lane]) {
            sums[lane] = sums[lane + half];
            classes[lane] = classes[lane + half];
        }
        workgroupBarrier();
    }
    if lane == 0u && index < params.queries { elected[index] = classes[0]; }
}
