//! Write a merged model
