//! Learning: of a prompt through a frozen model, of all weights, and of a model from nothing.

pub mod device_learning;
pub mod examples;
pub mod mixture;
pub mod model_tuning;
pub mod optim;
pub mod pretrain;
pub mod prompt_tuning;
pub mod weight_gradients;
pub mod weight_optimizer;
