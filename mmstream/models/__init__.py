"""The network, in backend-neutral Keras 3: `keras.ops` only, no TensorFlow and no Beam."""
