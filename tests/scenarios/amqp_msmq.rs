//! The meaning of MSMQ on a real RabbitMQ, judged by a client that is not ours.

#[path = "amqp_msmq/broker.rs"]
mod broker;
#[path = "amqp_msmq/duties.rs"]
mod duties;
#[path = "amqp_msmq/properties.rs"]
mod properties;
