"""Index backpropagation: a gradient for all codes through the softmax over them."""
