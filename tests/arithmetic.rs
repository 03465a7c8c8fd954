//! What the shaders say on paper of their kernels in workgroup memory, counted in the kernels themselves.
//!
//! A line `// Paper: ENTRY CONSTANT VALUE, …: FIGURES` in a shader's header holds for all kernels of the table with that entry and those
//! constants. Its figures are counted in the kernel as it is compiled:
//!
//! * bytes of workgroup memory of a group, as laid out;
//! * registers of an invocation: 32-bit numbers in its variables (accumulators, counters) and the operands that its innermost loop loads;
//! * operations a byte of workgroup memory, in the innermost loops that read it, and a byte of storage: in the innermost loops that go
//!   through storage, or for products and distances those of a chunk by what it loads (storage may be cache: rows are read more than once);
//! * groups at a time on a multiprocessor of 64 Ki registers, 2,048 invocations and 64 KiB, with 16 registers more for addresses.
//!
//! Comparisons and integers are not counted. A fused multiply-add is two operations, four pixels' products and sum are eight, an absolute difference and its addition two.

use std::collections::BTreeSet;

use cs231n_gpu::gpu::limits::{WORKGROUP_BYTES, WORKGROUP_INVOCATIONS};
use cs231n_gpu::gpu::source;
use cs231n_gpu::ops::{OPS, Shader};
use naga::valid::{Capabilities, FunctionInfo, ModuleInfo, ValidationFlags, Validator};
use naga::{
    AddressSpace, Expression, Function, Handle, MathFunction, Module, ScalarKind, Statement, TypeInner,
};

/// What a loop does in one round.
#[derive(Clone, Copy, Default)]
struct Round {
    operations: u32,
    workgroup: u32,
    storage: u32,
}

/// A shader as it is compiled.
struct Compiled {
    module: Module,
    info: ModuleInfo,
    entry: usize,
}

impl Compiled {
    fn new(shader: &Shader) -> Self {
        let text = source::assemble(shader.kernel.source, &shader.constants).expect("shaders assemble");
        let module = naga::front::wgsl::parse_str(&text).expect("shaders parse");
        let info = Validator::new(ValidationFlags::all(), Capabilities::all())
            .subgroup_operations(naga::valid::SubgroupOperationSet::all())
            .subgroup_stages(naga::valid::ShaderStages::COMPUTE)
            .validate(&module)
            .expect("shaders are valid");
        let entry = module.entry_points.iter().position(|entry| entry.name == shader.kernel.entry);
        Self { module, info, entry: entry.expect("the entry is there") }
    }

    fn bytes(&self, inner: &TypeInner) -> u32 {
        inner.size(self.module.to_ctx())
    }

    /// Of workgroup memory that the entry uses.
    fn workgroup_bytes(&self) -> u32 {
        let used = self.info.get_entry_point(self.entry);
        let variables = self.module.global_variables.iter();
        let shared = variables.filter(|(handle, variable)| {
            variable.space == AddressSpace::WorkGroup && !used[*handle].is_empty()
        });
        shared.map(|(_, variable)| self.bytes(&self.module.types[variable.ty].inner)).sum()
    }

    fn invocations(&self) -> u32 {
        self.module.entry_points[self.entry].workgroup_size.iter().product()
    }

    /// Words of the variables of the entry, and of the largest of what it calls.
    fn variables(&self, function: &Function) -> u32 {
        let words = |function: &Function| -> u32 {
            let types = function.local_variables.iter().map(|(_, variable)| variable.ty);
            types.map(|ty| self.bytes(&self.module.types[ty].inner) / 4).sum()
        };
        let mut called = BTreeSet::new();
        calls(&function.body, &mut called);
        let deepest = called.into_iter().map(|callee| self.variables(&self.module.functions[callee]));
        words(function) + deepest.max().unwrap_or(0)
    }

    /// The innermost loops of the entry, with those of what it calls.
    fn loops(&self) -> Vec<Round> {
        let mut loops = Vec::new();
        let entry = &self.module.entry_points[self.entry].function;
        self.walk(&entry.body, entry, self.info.get_entry_point(self.entry), &mut loops);
        loops
    }

    /// Counts a block, and collects its innermost loops.
    fn walk(&self, block: &naga::Block, of: &Function, info: &FunctionInfo, loops: &mut Vec<Round>) -> Round {
        let mut round = Round::default();
        for statement in block {
            let inner = match statement {
                Statement::Emit(range) => range.clone().fold(Round::default(), |round, expression| {
                    round.and(self.expression(expression, of, info))
                }),
                Statement::Store { pointer, value } => {
                    self.access(*pointer, info, self.bytes(info[*value].ty.inner_with(&self.module.types)))
                }
                Statement::Block(block) => self.walk(block, of, info, loops),
                Statement::If { accept, reject, .. } => {
                    self.walk(accept, of, info, loops).and(self.walk(reject, of, info, loops))
                }
                Statement::Switch { cases, .. } => cases
                    .iter()
                    .fold(Round::default(), |round, case| round.and(self.walk(&case.body, of, info, loops))),
                Statement::Loop { body, continuing, .. } => {
                    let before = loops.len();
                    let inner = self.walk(body, of, info, loops).and(self.walk(continuing, of, info, loops));
                    if loops.len() == before {
                        loops.push(inner);
                    }
                    inner
                }
                Statement::Call { function, .. } => self.walk(
                    &self.module.functions[*function].body,
                    &self.module.functions[*function],
                    &self.info[*function],
                    loops,
                ),
                _ => Round::default(),
            };
            round = round.and(inner);
        }
        round
    }

    /// Bytes through a pointer.
    fn access(&self, pointer: Handle<Expression>, info: &FunctionInfo, bytes: u32) -> Round {
        let space = match *info[pointer].ty.inner_with(&self.module.types) {
            TypeInner::Pointer { space, .. } | TypeInner::ValuePointer { space, .. } => space,
            ref other => panic!("a pointer of type {other:?}"),
        };
        match space {
            AddressSpace::WorkGroup => Round { workgroup: bytes, ..Round::default() },
            AddressSpace::Storage { .. } => Round { storage: bytes, ..Round::default() },
            _ => Round::default(),
        }
    }

    fn expression(&self, expression: Handle<Expression>, of: &Function, info: &FunctionInfo) -> Round {
        let types = &self.module.types;
        let shape = |handle: Handle<Expression>| match *info[handle].ty.inner_with(types) {
            TypeInner::Scalar(scalar) => (scalar.kind, 1),
            TypeInner::Vector { size, scalar } => (scalar.kind, size as u32),
            _ => (ScalarKind::Bool, 0),
        };
        let operations = match of.expressions[expression] {
            Expression::Load { pointer } => {
                return self.access(pointer, info, self.bytes(info[expression].ty.inner_with(types)));
            }
            Expression::Binary { .. } => match shape(expression) {
                (ScalarKind::Float, count) => count,
                _ => 0,
            },
            Expression::Math { fun, arg, .. } => match (fun, shape(arg)) {
                (MathFunction::Dot4U8Packed, _) => 8,
                (MathFunction::Fma, (_, count)) | (MathFunction::Abs, (ScalarKind::Sint, count)) => 2 * count,
                // A modifier of an operand.
                (MathFunction::Abs, _) => 0,
                (_, (ScalarKind::Float, count)) => count,
                _ => 0,
            },
            _ => 0,
        };
        Round { operations, ..Round::default() }
    }
}

impl Round {
    fn and(self, other: Self) -> Self {
        Self {
            operations: self.operations + other.operations,
            workgroup: self.workgroup + other.workgroup,
            storage: self.storage + other.storage,
        }
    }
}

/// The functions that a block calls.
fn calls(block: &naga::Block, into: &mut BTreeSet<Handle<Function>>) {
    for statement in block {
        match statement {
            Statement::Call { function, .. } => {
                into.insert(*function);
            }
            Statement::Block(block) => calls(block, into),
            Statement::If { accept, reject, .. } => {
                calls(accept, into);
                calls(reject, into);
            }
            Statement::Switch { cases, .. } => cases.iter().for_each(|case| calls(&case.body, into)),
            Statement::Loop { body, continuing, .. } => {
                calls(body, into);
                calls(continuing, into);
            }
            _ => {}
        }
    }
}

/// The figures of a kernel, as its shader states them.
fn figures(shader: &Shader) -> String {
    let compiled = Compiled::new(shader);
    let bytes = compiled.workgroup_bytes();
    let invocations = compiled.invocations();
    assert!(bytes <= WORKGROUP_BYTES && invocations <= WORKGROUP_INVOCATIONS);
    let loops = compiled.loops();
    let all = |of: fn(&Round) -> u32| {
        loops.iter().filter(|round| of(round) > 0).fold(Round::default(), |all, round| all.and(*round))
    };
    let operands = loops.iter().map(|round| round.workgroup.max(round.storage) / 4).max().unwrap_or(0);
    let registers = compiled.variables(&compiled.module.entry_points[compiled.entry].function) + operands;
    let shared = all(|round| if round.storage == 0 { round.workgroup } else { 0 });
    let constant = |name| shader.constants.iter().find(|(of, _)| *of == name).map(|&(_, value)| value);
    let storage = if shader.kernel.entry == "tiles" {
        // A chunk: DEPTH rounds of the innermost loop by all invocations, for DEPTH words of each row and column of the tile.
        let sides = constant("TILE_M").zip(constant("TILE_N")).map_or(64 + 64, |(m, n)| m + n);
        f64::from(invocations * shared.operations) / f64::from(4 * sides)
    } else {
        let all = all(|round| round.storage);
        f64::from(all.operations) / f64::from(all.storage)
    };
    let groups = [2048 / invocations, 65_536 / (invocations * (registers + 16)), (64 << 10) / bytes.max(1)];
    format!(
        "{bytes} bytes, {registers} registers, {:.2} operations a byte of workgroup memory, {storage:.2} of storage, {} groups",
        f64::from(shared.operations) / f64::from(shared.workgroup),
        groups.into_iter().min().unwrap_or(0).min(2048 / invocations),
    )
}

/// A line of a header: the entry with constants, and the figures.
fn lines(source: &str) -> impl Iterator<Item = (&str, Vec<(&str, u32)>, &str)> {
    source.lines().filter_map(|line| line.trim().strip_prefix("// Paper: ")).map(|line| {
        let (which, figures) = line.split_once(": ").expect("a colon before the figures");
        let (entry, constants) = which.split_once(' ').expect("constants after the entry");
        let constants = constants.split(", ").map(|one| {
            let (name, value) = one.split_once(' ').expect("a constant has a value");
            (name, value.parse().expect("a value is a number"))
        });
        (entry, constants.collect(), figures)
    })
}

#[test]
fn shaders_state_what_is_counted_in_their_kernels() {
    let mut problems = Vec::new();
    for op in OPS.iter() {
        let shaders = (op.shaders)();
        let mut stated = BTreeSet::new();
        for shader in &shaders {
            for (entry, constants, figures_stated) in lines(shader.kernel.source) {
                let of = |(name, value): &(&str, u32)| {
                    shader.constants.iter().any(|(n, v)| n == name && v == value)
                };
                if entry != shader.kernel.entry || !constants.iter().all(of) {
                    continue;
                }
                stated.insert((entry, constants.clone()));
                let counted = figures(shader);
                if counted != figures_stated {
                    problems.push(format!(
                        "{} {entry} {:?}:\n  counted {counted}\n  stated  {figures_stated}",
                        op.name, shader.constants
                    ));
                }
            }
        }
        // What is stated is there, and every entry that works in workgroup memory has a line.
        for shader in &shaders {
            for (entry, constants, _) in lines(shader.kernel.source) {
                let known = shaders.iter().any(|other| other.kernel.entry == entry);
                if known && !stated.contains(&(entry, constants.clone())) {
                    problems.push(format!("{}: no kernel is {entry} {constants:?}", op.name));
                }
            }
            let entry = shader.kernel.entry;
            let shares = Compiled::new(shader).workgroup_bytes() > 0;
            let teams =
                shader.constants.iter().all(|(name, value)| !["TEAM", "LANES"].contains(name) || *value > 1);
            if shares && teams && !stated.iter().any(|(of, _)| *of == entry) {
                problems.push(format!(
                    "{}: no line for {entry} {:?}\n  counted {}",
                    op.name,
                    shader.constants,
                    figures(shader)
                ));
            }
        }
    }
    problems.sort();
    problems.dedup();
    assert!(problems.is_empty(), "{}", problems.join("\n"));
}
