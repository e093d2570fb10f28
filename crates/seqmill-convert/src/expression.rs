//! Filter expressions on raw records, with the three-valued logic of tables: a comparison with a
//! missing value is neither true nor false, and only what is true passes.

use crate::options::{Expression, Scalar};
use seqmill_base::{Error, Result};
use seqmill_io::bam::{Fault, Record, Reference, TagKind, Tags, reference_span};
use std::cmp::Ordering;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessEqual,
    Greater,
    GreaterEqual,
}

impl Operator {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "==" => Self::Equal,
            "!=" => Self::NotEqual,
            "<" => Self::Less,
            "<=" => Self::LessEqual,
            ">" => Self::Greater,
            ">=" => Self::GreaterEqual,
            _ => return None,
        })
    }

    fn holds(self, ordering: Ordering) -> bool {
        match self {
            Self::Equal => ordering.is_eq(),
            Self::NotEqual => ordering.is_ne(),
            Self::Less => ordering.is_lt(),
            Self::LessEqual => ordering.is_le(),
            Self::Greater => ordering.is_gt(),
            Self::GreaterEqual => ordering.is_ge(),
        }
    }
}

/// What an expression may look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operand {
    Qname,
    Flag,
    Rname,
    Pos,
    Mapq,
    Rnext,
    Pnext,
    Tlen,
    End,
    SeqLen,
    AlignedLen,
    RefId,
    MateRefId,
    Strand,
    Tag([u8; 2]),
}

/// Names in the profiles `sam` and `bio`; shared by both.
const OPERANDS: [(&str, Operand); 26] = [
    ("qname", Operand::Qname),
    ("name", Operand::Qname),
    ("flag", Operand::Flag),
    ("flags", Operand::Flag),
    ("rname", Operand::Rname),
    ("chrom", Operand::Rname),
    ("pos", Operand::Pos),
    ("start", Operand::Pos),
    ("mapq", Operand::Mapq),
    ("mapping_quality", Operand::Mapq),
    ("rnext", Operand::Rnext),
    ("mate_chrom", Operand::Rnext),
    ("pnext", Operand::Pnext),
    ("mate_start", Operand::Pnext),
    ("tlen", Operand::Tlen),
    ("template_length", Operand::Tlen),
    ("end", Operand::End),
    ("seq_len", Operand::SeqLen),
    ("length", Operand::SeqLen),
    ("aligned_len", Operand::AlignedLen),
    ("ref_id", Operand::RefId),
    ("mate_ref_id", Operand::MateRefId),
    ("strand", Operand::Strand),
    ("read_group", Operand::Tag(*b"RG")),
    ("barcode", Operand::Tag(*b"CB")),
    ("umi", Operand::Tag(*b"UB")),
];

impl Operand {
    fn parse(name: &str) -> Result<Self> {
        if let Some(tag) = name.strip_prefix("tags.") {
            let bytes = tag.as_bytes().try_into().map_err(|_| {
                Error::input(format!("filter: tag {tag:?} does not have two characters"))
            })?;
            return Ok(Self::Tag(bytes));
        }
        let found = OPERANDS.iter().find(|(n, _)| *n == name);
        found.map(|(_, operand)| *operand).ok_or_else(|| {
            let names: Vec<&str> = OPERANDS.iter().map(|(n, _)| *n).collect();
            Error::not_found(format!(
                "filter: column {name:?} does not exist; one of {}, tags.XX",
                names.join(", ")
            ))
        })
    }
}

/// A value found in a record.
enum Value<'a> {
    Int(i64),
    Float(f64),
    Text(&'a [u8]),
    /// It is there, but equal to no literal and in no order with any.
    Array,
}

impl Value<'_> {
    /// Order against a literal; `None` if they cannot be compared.
    fn compare(&self, literal: &Scalar) -> Option<Ordering> {
        match (self, literal) {
            (Self::Int(a), Scalar::Int(b)) => Some(a.cmp(b)),
            (Self::Int(a), Scalar::Float(b)) => (*a as f64).partial_cmp(b),
            (Self::Float(a), Scalar::Int(b)) => a.partial_cmp(&(*b as f64)),
            (Self::Float(a), Scalar::Float(b)) => a.partial_cmp(b),
            (Self::Text(a), Scalar::Text(b)) => Some((*a).cmp(b.as_bytes())),
            _ => None,
        }
    }
}

#[derive(Debug)]
enum Node {
    And(Vec<Node>),
    Or(Vec<Node>),
    Not(Box<Node>),
    Flag(u16),
    Compare(Operand, Operator, Scalar),
    In(Operand, Vec<Scalar>),
    IsNull(Operand),
    Constant(bool),
}

/// An expression ready to be asked of records.
#[derive(Debug)]
pub(crate) struct Predicate {
    root: Node,
    shift: i64,
    references: Vec<Vec<u8>>,
}

impl Predicate {
    /// Compiles an expression; positions are meant as the output shows them.
    pub(crate) fn new(
        expression: &Expression,
        one_based: bool,
        references: &[Reference],
    ) -> Result<Self> {
        let references = references.iter().map(|r| r.name.clone().into_bytes()).collect();
        Ok(Self { root: compile(expression, 0)?, shift: i64::from(one_based), references })
    }

    /// Whether the record passes.
    pub(crate) fn holds(&self, record: &Record<'_>) -> Result<bool, Fault> {
        Ok(self.ask(&self.root, record)? == Some(true))
    }

    fn ask(&self, node: &Node, record: &Record<'_>) -> Result<Option<bool>, Fault> {
        Ok(match node {
            Node::Constant(value) => Some(*value),
            Node::Flag(bit) => Some(record.flag() & bit != 0),
            Node::Not(inner) => self.ask(inner, record)?.map(|v| !v),
            Node::And(nodes) => self.join(nodes, record, false)?,
            Node::Or(nodes) => self.join(nodes, record, true)?,
            Node::IsNull(operand) => Some(self.value(*operand, record)?.is_none()),
            Node::Compare(operand, operator, literal) => {
                let value = self.value(*operand, record)?;
                value.and_then(|v| v.compare(literal)).map(|o| operator.holds(o))
            }
            Node::In(operand, literals) => {
                let value = self.value(*operand, record)?;
                value.map(|v| literals.iter().any(|l| v.compare(l).is_some_and(Ordering::is_eq)))
            }
        })
    }

    /// `or` ends with the first true, `and` with the first false; a missing value counts when
    /// nothing ends it.
    fn join(&self, nodes: &[Node], record: &Record<'_>, end: bool) -> Result<Option<bool>, Fault> {
        let mut missing = false;
        for node in nodes {
            match self.ask(node, record)? {
                Some(value) if value == end => return Ok(Some(end)),
                Some(_) => {}
                None => missing = true,
            }
        }
        Ok((!missing).then_some(!end))
    }

    fn reference(&self, id: i32) -> Option<Value<'_>> {
        self.references.get(usize::try_from(id).ok()?).map(|name| Value::Text(name))
    }

    fn value<'v>(
        &'v self,
        operand: Operand,
        record: &Record<'v>,
    ) -> Result<Option<Value<'v>>, Fault> {
        let placed = |pos: i32| (pos >= 0).then(|| Value::Int(i64::from(pos) + self.shift));
        let known = |id: i32| (id >= 0).then_some(Value::Int(i64::from(id)));
        Ok(match operand {
            Operand::Qname => {
                let name = record.parts().name;
                (name != b"*" && !name.is_empty()).then_some(Value::Text(name))
            }
            Operand::Flag => Some(Value::Int(i64::from(record.flag()))),
            Operand::Rname => self.reference(record.ref_id()),
            Operand::Rnext => self.reference(record.mate_ref_id()),
            Operand::Pos => placed(record.pos()),
            Operand::Pnext => placed(record.mate_pos()),
            Operand::Mapq => Some(Value::Int(i64::from(record.mapq()))),
            Operand::Tlen => Some(Value::Int(i64::from(record.template_length()))),
            Operand::End => (record.pos() >= 0).then(|| Value::Int(record.end())),
            Operand::SeqLen => Some(Value::Int(i64::from(record.length()))),
            Operand::AlignedLen => {
                let parts = record.parts();
                Some(Value::Int(reference_span(record.cigar(&parts).0)))
            }
            Operand::RefId => known(record.ref_id()),
            Operand::MateRefId => known(record.mate_ref_id()),
            Operand::Strand => Some(Value::Text(if record.flag() & 16 == 0 { b"+" } else { b"-" })),
            Operand::Tag(name) => tag_value(record, name)?,
        })
    }
}

fn tag_value<'v>(record: &Record<'v>, name: [u8; 2]) -> Result<Option<Value<'v>>, Fault> {
    for tag in Tags::new(record.parts().tags) {
        let tag = tag?;
        if tag.name == name {
            return Ok(Some(match tag.kind {
                TagKind::Integer(_) => Value::Int(tag.integer()),
                TagKind::Float => Value::Float(f64::from(tag.float())),
                TagKind::Text | TagKind::Character | TagKind::Hex => Value::Text(tag.value),
                TagKind::Array(_) => Value::Array,
            }));
        }
    }
    Ok(None)
}

/// Deepest nesting of an expression; deeper ones come from nobody's hand.
const MAX_DEPTH: usize = 200;

fn compile(expression: &Expression, depth: usize) -> Result<Node> {
    if depth > MAX_DEPTH {
        return Err(Error::input("filter is nested too deeply"));
    }
    let all = |list: &[Expression]| -> Result<Vec<Node>> {
        list.iter().map(|e| compile(e, depth + 1)).collect()
    };
    Ok(match expression {
        Expression::And(list) => Node::And(all(list)?),
        Expression::Or(list) => Node::Or(all(list)?),
        Expression::Not(inner) => Node::Not(Box::new(compile(inner, depth + 1)?)),
        Expression::Flag(bit) => Node::Flag(*bit),
        Expression::Compare(name, operator, literal) => {
            let operator = Operator::parse(operator)
                .ok_or_else(|| Error::input(format!("filter: no operator {operator:?}")))?;
            Node::Compare(Operand::parse(name)?, operator, literal.clone())
        }
        Expression::In(name, literals) => Node::In(Operand::parse(name)?, literals.clone()),
        Expression::IsNull(name) => Node::IsNull(Operand::parse(name)?),
        Expression::Constant(value) => Node::Constant(*value),
    })
}
