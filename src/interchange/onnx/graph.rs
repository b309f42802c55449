//! Construction of a graph: inputs, constants, nodes and outputs. The operators that a model needs belong
//! to [`super::network`].

use prost::bytes::Bytes;

use super::messages::{
    AttributeProto, DimensionProto, GraphProto, NodeProto, TensorProto, TensorShapeProto,
    TensorTypeProto, TypeProto, ValueInfoProto, data_type,
};

/// Name of a tensor in a graph.
#[derive(Clone, Debug)]
pub struct Tensor(String);

/// Dimension of an input or output.
#[derive(Clone, Debug)]
pub enum Dimension {
    /// The same in all batches.
    Fixed(usize),
    /// Differs from batch to batch. Dimensions of the same name have the same length.
    Named(String),
}

impl Dimension {
    /// Number of texts.
    pub fn batch() -> Self {
        Self::Named("batch".to_owned())
    }
}

/// Values of a tensor as bytes, without a copy.
struct FloatBytes(Vec<f32>);

impl AsRef<[u8]> for FloatBytes {
    fn as_ref(&self) -> &[u8] {
        bytemuck::cast_slice(&self.0)
    }
}

/// A graph under construction.
#[derive(Default)]
pub struct GraphBuilder {
    graph: GraphProto,
    /// Number of names given so far.
    names: usize,
}

impl GraphBuilder {
    /// Adds an input of integers.
    pub fn input(&mut self, name: String, shape: &[Dimension]) -> Tensor {
        self.graph.input.push(value_info(&name, data_type::INT64, shape));
        Tensor(name)
    }

    /// Makes a tensor of floats an output.
    pub fn output(&mut self, name: &str, tensor: &Tensor, shape: &[Dimension]) {
        self.graph.output.push(value_info(name, data_type::FLOAT, shape));
        self.push_node("Identity", &[tensor], vec![], vec![name.to_owned()]);
    }

    /// Adds a constant of floats.
    pub fn floats(&mut self, name: String, shape: &[usize], values: Vec<f32>) -> Tensor {
        let bytes = Bytes::from_owner(FloatBytes(values));
        self.constant(name, data_type::FLOAT, shape, bytes)
    }

    /// Adds a scalar constant.
    pub fn float(&mut self, value: f32) -> Tensor {
        let name = self.new_name("constant");
        self.floats(name, &[], vec![value])
    }

    /// Adds a scalar constant.
    pub fn int(&mut self, value: i64) -> Tensor {
        let name = self.new_name("constant");
        self.constant(name, data_type::INT64, &[], value.to_le_bytes().to_vec().into())
    }

    /// Adds a constant vector.
    pub fn ints(&mut self, values: &[i64]) -> Tensor {
        let name = self.new_name("constant");
        let bytes: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
        self.constant(name, data_type::INT64, &[values.len()], bytes.into())
    }

    fn constant(&mut self, name: String, data_type: i32, shape: &[usize], data: Bytes) -> Tensor {
        self.graph.initializer.push(TensorProto {
            dims: shape.iter().map(|length| *length as i64).collect(),
            data_type: Some(data_type),
            name: name.clone(),
            raw_data: Some(data),
        });
        Tensor(name)
    }

    /// Adds a node without attributes, and returns its result.
    pub fn apply(&mut self, operator: &str, operands: &[&Tensor]) -> Tensor {
        self.apply_with(operator, operands, vec![])
    }

    /// Adds a node, and returns its result.
    pub fn apply_with(
        &mut self,
        operator: &str,
        operands: &[&Tensor],
        attributes: Vec<AttributeProto>,
    ) -> Tensor {
        let [result] = self.apply_many(operator, operands, attributes);
        result
    }

    /// Adds a node with several results, and returns them.
    pub fn apply_many<const N: usize>(
        &mut self,
        operator: &str,
        operands: &[&Tensor],
        attributes: Vec<AttributeProto>,
    ) -> [Tensor; N] {
        let results: [String; N] = std::array::from_fn(|_| self.new_name(operator));
        self.push_node(operator, operands, attributes, results.to_vec());
        results.map(Tensor)
    }

    fn push_node(
        &mut self,
        operator: &str,
        operands: &[&Tensor],
        attribute: Vec<AttributeProto>,
        output: Vec<String>,
    ) {
        self.graph.node.push(NodeProto {
            input: operands.iter().map(|operand| operand.0.clone()).collect(),
            name: output.first().cloned().unwrap_or_default(),
            output,
            op_type: operator.to_owned(),
            attribute,
        });
    }

    /// Returns an unused name. Those of inputs, outputs and weights don't end in a slash and a number.
    fn new_name(&mut self, kind: &str) -> String {
        self.names += 1;
        format!("{kind}/{}", self.names)
    }

    /// Returns the graph.
    pub fn finish(self, name: &str) -> GraphProto {
        GraphProto { name: name.to_owned(), ..self.graph }
    }
}

fn value_info(name: &str, element: i32, shape: &[Dimension]) -> ValueInfoProto {
    let dimension = |dimension: &Dimension| match dimension.clone() {
        Dimension::Fixed(length) => {
            DimensionProto { dim_value: Some(length as i64), dim_param: None }
        }
        Dimension::Named(name) => DimensionProto { dim_value: None, dim_param: Some(name) },
    };
    let shape = Some(TensorShapeProto { dim: shape.iter().map(dimension).collect() });
    let tensor_type = Some(TensorTypeProto { elem_type: Some(element), shape });
    ValueInfoProto { name: name.to_owned(), r#type: Some(TypeProto { tensor_type }) }
}
